{{- /* What both services have alike. Each takes a dict with `root`, `component` and `values`. */ -}}

{{- define "facecloak.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "facecloak.metadata" (merge (dict "annotations" .values.serviceAccountAnnotations) .) | nindent 2 }}
automountServiceAccountToken: false
{{- end -}}

{{- /* Headless: a client that asks for dns:///NAME:PORT with round_robin gets every pod, and balances calls, not connections. */ -}}
{{- define "facecloak.service" -}}
apiVersion: v1
kind: Service
metadata: {{- include "facecloak.metadata" (merge (dict "annotations" .values.serviceAnnotations) .) | nindent 2 }}
spec:
  clusterIP: None
  selector: {{- include "facecloak.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: {{ .values.port }}, targetPort: grpc, appProtocol: {{ ternary "https" "kubernetes.io/h2c" (ne .root.Values.tls.secret "") }}}
{{- end -}}

{{- define "facecloak.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "facecloak.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "facecloak.selector" . | nindent 6 }}
{{- end -}}

{{- /* How the service is reached from outside of the cluster: an Ingress, a GRPCRoute of the Gateway API, or both. */ -}}
{{- define "facecloak.routes" -}}
{{- $part := . -}}
{{- $name := include "facecloak.fullname" . -}}
{{- with .values.ingress }}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{- include "facecloak.metadata" (merge (dict "annotations" .annotations) $part) | nindent 2 }}
spec:
  {{- with .className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    {{- range required (printf "%s.ingress.hosts is needed: the names that callers use" $part.component) .hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: {{ $name }}, port: {name: grpc}}}
    {{- end }}
  {{- with .tlsSecret }}
  tls:
    - secretName: {{ . }}
      hosts: {{- toYaml $part.values.ingress.hosts | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .values.grpcRoute }}
{{- if .enabled }}
{{- $setting := printf "%s.grpcRoute.enabled" $part.component }}
{{- include "facecloak.needs" (dict "root" $part.root "api" "gateway.networking.k8s.io/v1/GRPCRoute" "setting" $setting "brought" "the Gateway API") }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{- include "facecloak.metadata" (merge (dict "annotations" .annotations) $part) | nindent 2 }}
spec:
  parentRefs: {{- toYaml (required (printf "%s.grpcRoute.parentRefs is needed: the gateways" $part.component) .parentRefs) | nindent 4 }}
  {{- with .hostnames }}
  hostnames: {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - {{ if .filters }}filters: {{- toYaml .filters | nindent 8 }}
      {{ end -}}
      backendRefs:
        - {name: {{ $name }}, port: {{ $part.values.port }}}
{{- end }}
{{- end }}
{{- end -}}
