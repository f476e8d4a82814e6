{{/* The name of everything in the release. */}}
{{- define "tidings.name" -}}
{{- if contains "tidings" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-tidings" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* By what the pods are found; never changes. */}}
{{- define "tidings.selector" -}}
app.kubernetes.io/name: tidings
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tidings.labels" -}}
{{ include "tidings.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* A killed replica tells nobody to come back later: its streams break all at once. */}}
{{- define "tidings.grace" -}}
{{- $needed := add .Values.drain.delaySeconds (mul 3 .Values.drain.windowSeconds) 5 -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d and has to be at least %d: drain.delaySeconds, three times drain.windowSeconds, and 5" (int .Values.terminationGracePeriodSeconds) (int $needed)) -}}
{{- end -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- end -}}

{{/* What can't be said by the schema. */}}
{{- define "tidings.check" -}}
{{- $login := .Values.nats.login -}}
{{- if ne (empty $login.user) (empty $login.password.secret) -}}
{{- fail "nats.login.user and nats.login.password.secret go together" -}}
{{- end -}}
{{- $ways := 0 -}}
{{- range list $login.password.secret $login.token.secret $login.nkey.secret $login.credentials.secret -}}
{{- if . -}}{{- $ways = add1 $ways -}}{{- end -}}
{{- end -}}
{{- if gt (int $ways) 1 -}}
{{- fail "nats.login says in more than one way who the hub is: keep one of password, token, nkey and credentials" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas" -}}
{{- end -}}
{{- end -}}

{{/* A variable from a Secret: list of its name, and of the value that names the Secret and the entry. */}}
{{- define "tidings.fromSecret" -}}
{{- $name := index . 0 -}}
{{- $from := index . 1 -}}
{{- if $from.secret }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: { name: {{ $from.secret | quote }}, key: {{ $from.key | quote }} }
{{- end -}}
{{- end -}}
