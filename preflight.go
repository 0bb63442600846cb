package wsgateway

import (
	"net/http"

	"golang.org/x/net/http/httpguts"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
)

// isPreflight tells whether a request is the question that browsers ask before a
// page of another origin may make one (CORS). It has neither credentials nor a
// body, says Fetch; what has, or is not sure to have none, is something else.
func isPreflight(r *http.Request) bool {
	method := r.Header["Access-Control-Request-Method"]
	return r.Method == http.MethodOptions &&
		len(r.Header["Origin"]) == 1 && r.Header["Origin"][0] != "" &&
		len(method) == 1 && httpguts.ValidHeaderFieldName(method[0]) &&
		len(r.Header["Authorization"]) == 0 && len(r.Header[carrier.CookieField]) == 0 &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0
}

// dropMethodOverrides removes the fields by which some servers take a request for
// one of another method. No browser sends them with a preflight.
func dropMethodOverrides(header http.Header) {
	for _, field := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		carrier.EachSpelling(header, field, func(name string) { delete(header, name) })
	}
}
