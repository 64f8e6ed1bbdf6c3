{{- define "image-search.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "image-search.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* What selects the pods of a role: (list . "api"). */}}
{{- define "image-search.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ $.Chart.Name }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "image-search.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "image-search.name" .) }}
{{- end }}

{{- define "image-search.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The pod of a role: (list . "api" .Values.api). */}}
{{- define "image-search.pod" -}}
{{- $ := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := index . 2 -}}
metadata:
  labels:
    {{- include "image-search.selector" (list $ $role) | nindent 4 }}
spec:
  serviceAccountName: {{ include "image-search.serviceAccount" $ }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds | default 30 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- with $.Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "image-search.selector" (list $ $role) | nindent 10 }}
  containers:
    - name: image-search
      image: {{ include "image-search.image" $ }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      {{- if eq $role "migrate" }}
      args: ["migrate"]
      {{- else }}
      args: ["serve", "--role", {{ $role | quote }}]
      ports:
        - {name: http, containerPort: 3000}
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 3
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 4
      {{- end }}
      {{- with $values.resources }}
      resources: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      env:
        - {name: IMAGE_SEARCH_IMAGES, value: {{ join "," $.Values.images | quote }}}
        - {name: IMAGE_SEARCH_MODEL, value: {{ $.Values.model | quote }}}
        - {name: IMAGE_SEARCH_CATALOG__URL, value: {{ $.Values.catalog.url | quote }}}
        - {name: IMAGE_SEARCH_CATALOG__PASSWORD_FILE, value: /secrets/catalog/password}
        - {name: IMAGE_SEARCH_VECTOR_STORE__URL, value: {{ $.Values.vectorStore.url | quote }}}
        - {name: IMAGE_SEARCH_VECTOR_STORE__API_KEY_FILE, value: /secrets/vector-store/api-key}
        - {name: IMAGE_SEARCH_TOKEN__KEY_FILE, value: /secrets/token/jwt.key}
        - {name: IMAGE_SEARCH_LOG__FORMAT, value: json}
        {{- with $.Values.thumbnails }}
        - {name: IMAGE_SEARCH_THUMBNAILS__STORE, value: {{ . | quote }}}
        {{- end }}
        {{- with $.Values.hosts }}
        - {name: IMAGE_SEARCH_SERVER__HOSTS, value: {{ join "," . | quote }}}
        {{- end }}
        {{- range $name, $value := $.Values.settings }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      {{- with $.Values.environmentSecret }}
      envFrom:
        - secretRef: {name: {{ . }}}
      {{- end }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: models, mountPath: /models}
        - {name: temporary, mountPath: /tmp}
        - {name: catalog-password, mountPath: /secrets/catalog, readOnly: true}
        - {name: vector-store-key, mountPath: /secrets/vector-store, readOnly: true}
        - {name: token-key, mountPath: /secrets/token, readOnly: true}
        {{- with $.Values.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    # Thumbnails, prepared graphs and the pod's name among the others: nothing that another pod would miss.
    - {name: data, emptyDir: {}}
    - {name: temporary, emptyDir: {}}
    {{- if $.Values.models.existingClaim }}
    - {name: models, persistentVolumeClaim: {claimName: {{ $.Values.models.existingClaim }}}}
    {{- else }}
    - {name: models, emptyDir: {}}
    {{- end }}
    - name: catalog-password
      secret:
        secretName: {{ $.Values.catalog.passwordSecret.name }}
        defaultMode: 0440
        items: [{key: {{ $.Values.catalog.passwordSecret.key }}, path: password}]
    - name: vector-store-key
      secret:
        secretName: {{ $.Values.vectorStore.apiKeySecret.name }}
        defaultMode: 0440
        items: [{key: {{ $.Values.vectorStore.apiKeySecret.key }}, path: api-key}]
    - name: token-key
      secret:
        secretName: {{ $.Values.tokenSecret.name }}
        defaultMode: 0440
        items: [{key: {{ $.Values.tokenSecret.key }}, path: jwt.key}]
    {{- with $.Values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
