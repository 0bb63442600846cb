package wsgateway

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// typeEventStream is the content type of server-sent events.
const typeEventStream = "text/event-stream"

// streamTypes are the content types of answers that are streams, in lower case, each
// with what its streams are called as a protocol.
type streamTypes map[string]string

// newStreamTypes compiles what is configured; nil for no streams.
func newStreamTypes(configured []string) (streamTypes, error) {
	if len(configured) == 0 {
		return nil, nil
	}
	types := make(streamTypes)
	for _, written := range configured {
		name, params, err := mime.ParseMediaType(written)
		kind, subtype, _ := strings.Cut(name, "/")
		switch {
		case err != nil, kind == "", subtype == "":
			return nil, fmt.Errorf("streams: %s is no content type: write it as %s", strconv.Quote(written), typeEventStream)
		case len(params) > 0 || strings.Contains(written, ";"):
			return nil, fmt.Errorf("streams: %s has parameters, which answers are not compared by: write %s", strconv.Quote(written), name)
		case strings.Contains(name, "*"):
			return nil, fmt.Errorf("streams: %s stands for many types: name each by itself", strconv.Quote(written))
		case subtype == live.ProtocolWebSocket:
			return nil, fmt.Errorf("streams: streams of %s would be called as WebSockets are: leave it out", name)
		case types[name] != "":
			return nil, fmt.Errorf("streams: %s is there twice: remove one", name)
		}
		if types[name] = subtype; name == typeEventStream {
			types[name] = "sse"
		}
	}
	return types, nil
}

// askedFor reports whether a request asks for a stream: a GET whose Accept names one of the
// types.
func (types streamTypes) askedFor(r *http.Request) bool {
	if types == nil || r.Method != http.MethodGet {
		return false
	}
	return slices.ContainsFunc(handshake.ListOf(r.Header["Accept"]), func(accepted string) bool {
		return types[essence(accepted)] != "" && isAcceptable(accepted)
	})
}

// isAcceptable reports whether a type in Accept has no weight, or one above zero (RFC 9110,
// section 12.4.2).
func isAcceptable(accepted string) bool {
	_, params, err := mime.ParseMediaType(accepted)
	if err != nil {
		return false
	}
	weight, err := strconv.ParseFloat(params["q"], 64)
	return err != nil || weight > 0
}

// essence is a content type without its parameters.
func essence(contentType string) string {
	name, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(name))
}

// of returns the content type of an answer and what its stream is called as a protocol; ""
// where the answer is no stream.
func (types streamTypes) of(method string, res *http.Response) (contentType, protocol string) {
	if method == http.MethodHead || res.StatusCode < 200 || res.StatusCode > 299 ||
		res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusResetContent {
		return "", ""
	}
	contentType = essence(res.Header.Get("Content-Type"))
	return contentType, types[contentType]
}

// isEncoded reports whether the body of an answer is not the text that it stands for.
func isEncoded(res *http.Response) bool {
	return slices.ContainsFunc(handshake.ListOf(res.Header["Content-Encoding"]), func(coding string) bool {
		return !strings.EqualFold(coding, "identity")
	})
}
