package wsgateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
)

// withCredential is the request with a credential in its place, for a request
// that is another's. Header operations, which are over, have the last word.
func withCredential(r *http.Request, credential carrier.Placed, ops *headers.HeaderOps) *http.Request {
	if credential.IsNone() || overrules(ops, credential.Field()) {
		return r
	}
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	credential.PutInto(out)
	return out
}

// overrules reports whether header operations set or delete the field.
func overrules(ops *headers.HeaderOps, field string) bool {
	if ops == nil || field == "" {
		return false
	}
	_, set := ops.Set[field]
	return set || slices.ContainsFunc(ops.Delete, func(name string) bool { return strings.EqualFold(name, field) })
}
