package wsgateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

// listedAddresses is how many upstreams an error names at the most.
const listedAddresses = 20

// requestedAddress is the address of an upstream that an administrator gives in
// the path or as the parameter, as it is written there.
func requestedAddress(u *url.URL) (string, error) {
	query, err := parametersOf(u)
	if err != nil {
		return "", err
	}
	for name := range query {
		if name != "address" {
			return "", fmt.Errorf("unknown parameter %q: allowed is address", name)
		}
	}
	inPath, err := url.PathUnescape(strings.TrimPrefix(strings.TrimPrefix(u.EscapedPath(), adminUpstreams), "/"))
	switch {
	case err != nil:
		return "", fmt.Errorf("the address in the path: %w", err)
	case !query.Has("address"):
		return inPath, nil
	case inPath != "":
		return "", errors.New("the address must be in the path or be the parameter address, not both")
	case query.Get("address") == "":
		return "", errors.New("address must not be empty")
	}
	return query.Get("address"), nil
}

// parametersOf reads a query in which nothing may stand twice.
func parametersOf(u *url.URL) (url.Values, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the query is damaged")
	}
	for name, values := range query {
		if len(values) > 1 {
			return nil, fmt.Errorf("%s must be given once", name)
		}
	}
	return query, nil
}

// knownAddress finds the known upstream that an administrator means, by any spelling
// of its address, also by one that HTTP has changed: servers and clients make one
// slash of two in a path, and a plus in a query is a space.
func knownAddress(written string, known []string) (string, bool) {
	for _, spelling := range []string{written, strings.ReplaceAll(written, " ", "+")} {
		if address := dial.Canonical(spelling); slices.Contains(known, address) {
			return address, true
		}
	}
	if scheme, rest, found := strings.Cut(written, ":/"); found && !strings.HasPrefix(rest, "/") {
		if address := dial.Canonical(scheme + "://" + rest); slices.Contains(known, address) {
			return address, true
		}
	}
	cleaned, meant := path.Clean(written), []string(nil)
	for _, address := range known {
		if strings.Contains(address, "/") && path.Clean(address) == cleaned {
			meant = append(meant, address)
		}
	}
	if len(meant) != 1 { // more than one is a guess
		return "", false
	}
	return meant[0], true
}

// listAddresses lists the known upstreams for an error.
func listAddresses(known []string) string {
	if len(known) == 0 {
		return "none is known"
	}
	quoted := make([]string, 0, listedAddresses)
	for _, address := range known[:min(len(known), listedAddresses)] {
		quoted = append(quoted, fmt.Sprintf("%q", address))
	}
	list := "known are " + strings.Join(quoted, ", ")
	if more := len(known) - len(quoted); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

const (
	adminRoot      = "/ws_gateway/"
	adminUpstreams = adminRoot + "upstreams"

	maxAdminBody = 4 << 10
)

// readMember reads a JSON object whose only member has the name and is a text. It
// returns the text, or an empty one where the member is missing.
func readMember(body io.Reader, name string) (string, error) {
	object, err := readObject(body, maxAdminBody)
	if err != nil {
		return "", err
	}
	for _, member := range object {
		if string(member.Name) != name {
			return "", fmt.Errorf("the member %q is unknown", member.Name)
		}
	}
	text, ok := object.Get(name).Text()
	if !ok && len(object) > 0 {
		return "", fmt.Errorf("%s must be a text", name)
	}
	return text, nil
}

// readObject reads a JSON object of at most so many bytes.
func readObject(body io.Reader, most int64) (strictjson.Object, error) {
	data, err := io.ReadAll(io.LimitReader(body, most+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > most:
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	return strictjson.ParseObject(data)
}

// allowParameters refuses a query with other parameters.
func allowParameters(u *url.URL, allowed ...string) error {
	query, err := parametersOf(u)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	return allowNames(query, allowed...)
}

// allowNames refuses parameters with other names.
func allowNames(query url.Values, allowed ...string) error {
	for name := range query {
		if slices.Contains(allowed, name) {
			continue
		}
		if len(allowed) == 0 {
			return adminError(http.StatusBadRequest, "unknown parameter %q: none is allowed here", name)
		}
		return adminError(http.StatusBadRequest, "unknown parameter %q: allowed are %s", name, strings.Join(allowed, ", "))
	}
	return nil
}

// readDuration reads a duration in the way of Caddy's JSON: a text, or a number of
// nanoseconds.
func readDuration(name string, value strictjson.Value) (time.Duration, error) {
	if text, ok := value.Text(); ok {
		duration, err := caddy.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("%s %.64q is no duration: write it as \"30s\", \"24h\" or \"30d\"", name, text)
		}
		return duration, nil
	}
	number, _ := value.Number()
	nanoseconds, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s must be a text as \"30s\", or a whole number of nanoseconds", name)
	}
	return time.Duration(nanoseconds), nil
}

// How many entries a page of a list has.
const (
	defaultLimit = 1000
	maxLimit     = 10_000
)

// limitOf is how many entries of a list a request asks for.
func limitOf(query url.Values) (int, error) {
	if !query.Has("limit") {
		return defaultLimit, nil
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, errors.New("limit must be a number from 1 to " + strconv.Itoa(maxLimit) + ": ask for the entries after the last one by after=<its id>")
	}
	return limit, nil
}

func allowMethods(w http.ResponseWriter, r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return adminMethodError(r, strings.Join(methods, " or "))
}

// adminError is an answer that says what is wrong with the request.
func adminError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

func adminMethodError(r *http.Request, allowed string) error {
	return adminError(http.StatusMethodNotAllowed, "method %s is not allowed here: use %s", r.Method, allowed)
}

func answerJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return writeJSON(w, v)
}

func writeJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
