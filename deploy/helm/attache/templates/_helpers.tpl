{{- define "attache.name" -}}
{{- if contains "attache" .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-attache" .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* What a deployment and a service choose pods by; it never changes, as Kubernetes does not let it. */}}
{{- define "attache.selector" -}}
app.kubernetes.io/name: attache
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "attache.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "attache.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "attache.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The configuration as the file that it becomes: what was asked for, and the key if it is in a secret. Helm reads every number as one
with a fraction, and writes it as one; attache has none. */}}
{{- define "attache.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.key.secret -}}
{{- $config = mustMergeOverwrite $config (dict "secrets" (dict "key_file" "/etc/attache/key/secrets.key")) -}}
{{- end -}}
{{ regexReplaceAll "(?m)^( *[A-Za-z0-9_-]+ = -?[0-9]+)\\.0$" (toToml $config) "${1}" }}
{{- end -}}

{{/* What would start, and go wrong later, is refused here. */}}
{{- define "attache.check" -}}
{{- $url := dig "catalog" "url" "" .Values.config -}}
{{- $shared := or (hasPrefix "postgres://" $url) (hasPrefix "postgresql://" $url) -}}
{{- $store := dig "storage" "backend" "local" .Values.config -}}
{{- if and (gt (int .Values.replicas) 1) (not $shared) -}}
{{- fail "replicas: several need a catalog that they share: set config.catalog.url to one of PostgreSQL" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.key.secret) -}}
{{- fail "replicas: several need the same key: set key.secret" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (eq $store "local") (ne .Values.persistence.accessMode "ReadWriteMany") -}}
{{- fail "replicas: several need a store that all reach: set config.storage, or persistence.accessMode to ReadWriteMany" -}}
{{- end -}}
{{- if and (not .Values.persistence.enabled) (or (eq $store "local") (not $shared)) -}}
{{- fail "persistence.enabled: files, or what is known of them, would go with the pod: set config.storage and config.catalog.url, too" -}}
{{- end -}}
{{- end -}}
