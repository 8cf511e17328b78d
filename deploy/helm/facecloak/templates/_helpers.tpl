{{- /* Names and parts that the manifests share. Each part takes a dict with `root` and `component`. */ -}}

{{- define "facecloak.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* RELEASE-COMPONENT; with nameOverride RELEASE-NAME-COMPONENT, with fullnameOverride NAME-COMPONENT. */ -}}
{{- define "facecloak.fullname" -}}
{{- $release := .root.Release.Name | default .root.Chart.Name -}}
{{- $name := .root.Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = ternary (printf "%s-%s" $release .root.Values.nameOverride) $release (ne .root.Values.nameOverride "") -}}
{{- end -}}
{{- printf "%s-%s" ($name | trunc 40 | trimSuffix "-") .component -}}
{{- end -}}

{{- define "facecloak.selector" -}}
app.kubernetes.io/name: {{ include "facecloak.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "facecloak.labels" -}}
{{ include "facecloak.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Name, labels and annotations of one object. `annotations` and `more` (labels) may add to them. */ -}}
{{- define "facecloak.metadata" -}}
name: {{ include "facecloak.fullname" . }}
labels:
  {{- include "facecloak.labels" . | nindent 2 }}
  {{- with .more }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite dict (.root.Values.commonAnnotations | default dict) (.annotations | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The same for a pod's template: its own labels and annotations, none of which may move a selector. */ -}}
{{- define "facecloak.podMetadata" -}}
labels: {{- toYaml (mergeOverwrite dict (.values.podLabels | default dict) (include "facecloak.labels" . | fromYaml)) | nindent 2 }}
{{- with mergeOverwrite dict (.root.Values.commonAnnotations | default dict) (.values.podAnnotations | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* REGISTRY/REPOSITORY:TAG, or @DIGEST. Our own images without a tag have that of this release, and the variant's. */ -}}
{{- define "facecloak.image" -}}
{{- $own := .own | default false -}}
{{- $name := .image.repository -}}
{{- if and $own .root.Values.registry -}}{{- $name = printf "%s/%s" .root.Values.registry $name -}}{{- end -}}
{{- $tag := .image.tag -}}
{{- if not $tag -}}
{{- $tag = .root.Chart.AppVersion -}}
{{- with .image.variant -}}{{- $tag = printf "%s-%s" $tag . -}}{{- end -}}
{{- end -}}
{{- if .image.digest -}}{{ $name }}@{{ .image.digest }}{{- else -}}{{ $name }}:{{ $tag }}{{- end -}}
{{- end -}}

{{- define "facecloak.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user | default 65532 }}
runAsGroup: {{ .user | default 65532 }}
fsGroup: {{ .user | default 65532 }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "facecloak.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* Where pods go: spread over nodes and zones, unless values say otherwise. */ -}}
{{- define "facecloak.placement" -}}
{{- if .values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else }}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "facecloak.selector" (dict "root" $.root "component" $.component) | nindent 8 }}
{{- end }}
{{- end }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $.values $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $name := list "runtimeClassName" "priorityClassName" }}
{{- with index $.values $name }}
{{ $name }}: {{ . }}
{{- end }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Copies the models from their image to the volume `models`. `from` is /models or /triton. */ -}}
{{- define "facecloak.modelsStep" -}}
- name: models
  image: {{ include "facecloak.image" (dict "root" .root "image" .root.Values.models.image "own" true) }}
  imagePullPolicy: {{ .root.Values.imagePullPolicy }}
  command: [cp, -R, {{ .from }}/., /repository/]
  securityContext: {{- include "facecloak.containerSecurity" . | nindent 4 }}
  resources:
    requests: {cpu: 50m, memory: 64Mi}
    limits: {cpu: 500m, memory: 128Mi}
  volumeMounts:
    - {name: models, mountPath: /repository}
{{- end -}}

{{- /* The three probes: the process (live), and what it depends on (the service's name). */ -}}
{{- define "facecloak.probes" -}}
startupProbe:
  {{- include "facecloak.readyProbe" . | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
  # Models load and every recognizer runs once.
  failureThreshold: 60
readinessProbe:
  {{- include "facecloak.readyProbe" . | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  # Over HTTP, with threads of its own: no load on gRPC lets a pod be restarted.
  httpGet: {port: metrics, path: /livez{{ include "facecloak.metricsScheme" . }}}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{- /* The kubelet's gRPC probes speak no TLS: then HTTP, which tells the same. */ -}}
{{- define "facecloak.readyProbe" -}}
{{- if .root.Values.tls.secret -}}
httpGet: {port: metrics, path: /readyz{{ include "facecloak.metricsScheme" . }}}
{{- else -}}
grpc: {port: {{ .port }}, service: {{ .service }}}
{{- end -}}
{{- end -}}

{{- define "facecloak.metricsScheme" -}}
{{- if and .root.Values.tls.secret .root.Values.tls.metrics }}, scheme: HTTPS{{- end -}}
{{- end -}}

{{- /* Environment that both services take, under their own prefix. */ -}}
{{- define "facecloak.environment" -}}
{{- $v := .root.Values -}}
- {name: {{ .prefix }}PORT, value: {{ .values.port | quote }}}
- {name: {{ .prefix }}HOST, value: "0.0.0.0"}
- {name: {{ .prefix }}INSECURE_LISTEN, value: {{ $v.insecureListen | quote }}}
{{- if $v.tls.secret }}
- {name: {{ .prefix }}TLS__CERTIFICATE, value: /tls/tls.crt}
- {name: {{ .prefix }}TLS__KEY, value: /tls/tls.key}
{{- if $v.tls.mutual }}
- {name: {{ .prefix }}TLS__CLIENT_CA, value: /tls/ca.crt}
{{- end }}
{{- end }}
{{- if and $v.tls.secret $v.tls.metrics }}
- {name: {{ .prefix }}METRICS_TLS, value: "true"}
{{- end }}
{{- if $v.callersSecret }}
- {name: {{ .prefix }}IDENTITY__CALLERS, value: /callers/callers.toml}
{{- end }}
- {name: {{ .prefix }}METRICS_PORT, value: {{ .values.metricsPort | quote }}}
- {name: {{ .prefix }}GRACE_SECONDS, value: {{ .grace | quote }}}
- {name: {{ .prefix }}CONNECTION_AGE_SECONDS, value: {{ $v.connectionAgeSeconds | quote }}}
{{ include "facecloak.storeEnvironment" . }}
{{- with $v.tracing.endpoint }}
- {name: {{ $.prefix }}TRACE_ENDPOINT, value: {{ . | quote }}}
- {name: {{ $.prefix }}TRACE_SHARE, value: {{ $v.tracing.share | quote }}}
{{- end }}
{{- range $name, $value := .values.settings }}
- {name: {{ $.prefix }}{{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- /* Where masks, their keys and the audit log are. */ -}}
{{- define "facecloak.storeEnvironment" -}}
{{- $v := .root.Values -}}
{{- if $v.store.volume.enabled }}
- {name: {{ .prefix }}STORE__URL, value: "file:///masks"}
{{- else }}
- {name: {{ .prefix }}STORE__URL, value: {{ $v.store.url | quote }}}
- name: {{ .prefix }}STORE__S3_ENDPOINT
  value: {{ include "facecloak.s3Endpoint" (dict "root" .root) | quote }}
- {name: {{ .prefix }}STORE__S3_SECURE, value: {{ $v.store.secure | quote }}}
- {name: {{ .prefix }}STORE__S3_REGION, value: {{ $v.store.region | quote }}}
{{- end }}
{{- if $v.store.maskKeySecret }}
- name: {{ .prefix }}STORE__KEY
  valueFrom: {secretKeyRef: {name: {{ $v.store.maskKeySecret }}, key: mask-key}}
{{- else if not $v.store.keyServer.kind }}
{{- fail "store.maskKeySecret or store.keyServer is needed: what seals the masks" }}
{{- end }}
{{- with $v.store.keyServer }}
{{- if .kind }}
{{- if not .keys }}
{{- fail "store.keyServer.keys is needed: the names of the keys" }}
{{- end }}
- {name: {{ $.prefix }}STORE__KEY_SERVER__KIND, value: {{ .kind }}}
- {name: {{ $.prefix }}STORE__KEY_SERVER__URL, value: {{ required "store.keyServer.url is needed" .url | quote }}}
- {name: {{ $.prefix }}STORE__KEY_SERVER__KEYS, value: {{ .keys | toJson | quote }}}
{{- if eq .kind "transit" }}
{{- $_ := required "store.keyServer.tokenSecret is needed with transit" .tokenSecret }}
- {name: {{ $.prefix }}STORE__KEY_SERVER__TOKEN_FILE, value: /key-server/token}
- {name: {{ $.prefix }}STORE__KEY_SERVER__MOUNT, value: {{ .mount | quote }}}
{{- with .namespace }}
- {name: {{ $.prefix }}STORE__KEY_SERVER__NAMESPACE, value: {{ . | quote }}}
{{- end }}
{{- else }}
- {name: {{ $.prefix }}STORE__KEY_SERVER__REGION, value: {{ .region | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if $v.audit.enabled }}
- {name: {{ .prefix }}AUDIT__FOLDER, value: /audit}
{{- end }}
{{- if and .credentials (not $v.store.volume.enabled) }}
{{- include "facecloak.credentials" (dict "secret" .credentials) }}
{{- end }}
{{- end -}}

{{- define "facecloak.credentials" }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.secret }}, key: {{ . }}}}
{{- end }}
{{- end -}}

{{- define "facecloak.s3Endpoint" -}}
{{- if .root.Values.bundledS3.enabled -}}
{{ include "facecloak.fullname" (dict "root" .root "component" "s3") }}:8333
{{- else -}}
{{ required "store.endpoint is needed where bundledS3 is off" .root.Values.store.endpoint }}
{{- end -}}
{{- end -}}

{{- /* What both services mount; `readOnly` is of the masks' volume. */ -}}
{{- define "facecloak.mounts" -}}
- {name: models, mountPath: /models, readOnly: true}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
{{- include "facecloak.storeMounts" . }}
{{- if .root.Values.tls.secret }}
- {name: tls, mountPath: /tls, readOnly: true}
{{- end }}
{{- if .root.Values.callersSecret }}
- {name: callers, mountPath: /callers, readOnly: true}
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "facecloak.storeMounts" -}}
{{- if .root.Values.store.volume.enabled }}
- {name: masks, mountPath: /masks, readOnly: {{ .readOnly }}}
{{- end }}
{{- if .root.Values.audit.enabled }}
- {name: audit, mountPath: /audit}
{{- end }}
{{- if eq .root.Values.store.keyServer.kind "transit" }}
- {name: key-server, mountPath: /key-server, readOnly: true}
{{- end }}
{{- end -}}

{{- define "facecloak.storeVolumes" -}}
{{- with .root.Values.store.volume }}
{{- if .enabled }}
- name: masks
  persistentVolumeClaim:
    claimName: {{ .existingClaim | default (include "facecloak.fullname" (dict "root" $.root "component" "masks")) }}
{{- end }}
{{- end }}
{{- with .root.Values.audit }}
{{- if .enabled }}
- name: audit
  persistentVolumeClaim:
    claimName: {{ .existingClaim | default (include "facecloak.fullname" (dict "root" $.root "component" "audit")) }}
{{- end }}
{{- end }}
{{- with .root.Values.store.keyServer }}
{{- if eq .kind "transit" }}
- {name: key-server, secret: {secretName: {{ .tokenSecret }}, defaultMode: 0440}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "facecloak.volumes" -}}
- {name: models, emptyDir: {sizeLimit: 1Gi}}
- {name: data, emptyDir: {sizeLimit: 16Mi}}
- {name: tmp, emptyDir: {sizeLimit: {{ .tmp }}}}
{{- include "facecloak.storeVolumes" . }}
{{- with .root.Values.tls.secret }}
- {name: tls, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with .root.Values.callersSecret }}
- {name: callers, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Fails where the cluster lacks an API that was asked for: `api`, `setting`, `brought` (by whom). */ -}}
{{- define "facecloak.needs" -}}
{{- if not (.root.Capabilities.APIVersions.Has .api) -}}
{{- fail (printf "%s needs %s, which this cluster lacks: install %s first (to render without a cluster: --api-versions %s)" .setting .api .brought .api) -}}
{{- end -}}
{{- end -}}

{{- /* From SIGTERM's announcement to the kill: the sleep, the grace, and the flush. */ -}}
{{- define "facecloak.preStopSeconds" -}}10{{- end -}}
