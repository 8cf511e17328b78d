{{- /* What Triton is told besides where its models are; `models.pollSeconds` above 0 takes up changed models while it serves. */ -}}
{{- define "facecloak.tritonArguments" -}}
{{- with .Values.triton.models.pollSeconds -}}
- --model-control-mode=poll
- --repository-poll-secs={{ . }}
{{- else -}}
- --model-control-mode=none
{{- end }}
- --strict-readiness=true
- --disable-auto-complete-config
- --exit-timeout-secs=30
- --allow-metrics=true
{{- end -}}

{{- /* Where enroll finds Triton; empty: recognizers in its own process. */ -}}
{{- define "facecloak.tritonUrl" -}}
{{- $v := .Values.triton -}}
{{- $name := include "facecloak.fullname" (dict "root" . "component" "triton") -}}
{{- if not $v.enabled -}}
{{ $v.externalUrl }}
{{- else if $v.kserve.enabled -}}
{{ $v.externalUrl | default (printf "%s-predictor.%s.svc:80" $name .Release.Namespace) }}
{{- else -}}
{{ $name }}:8001
{{- end -}}
{{- end -}}
