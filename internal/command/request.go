package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

const (
	adminDialTimeout   = 5 * time.Second
	adminAnswerTimeout = time.Minute

	maxSentence = 500      // bytes of an answer that is not Caddy's
	maxAnswer   = 64 << 20 // bytes; a page of connections has a few million
)

func addAddressFlags(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.String("address", "", "Address of the admin endpoint, if different from the configuration")
	flags.StringP("config", "c", "", "Configuration file that says where the admin endpoint is")
	flags.StringP("adapter", "a", "", "Name of the config adapter to apply to it")
}

// adminEndpoint is the admin endpoint of a running Caddy.
type adminEndpoint struct {
	address string // as it was given
	base    string
	origin  string // none for a unix socket, as with Caddy's own commands
	client  *http.Client

	missing []string // the nodes that did not answer one of the requests to all of them
}

// endpointOf finds the admin endpoint that the flags of a command name. Caddy's
// AdminAPIRequest has neither the status of a refusal nor a context.
func endpointOf(cmd *cobra.Command) (*adminEndpoint, error) {
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	if flags.String("adapter") != "" && flags.String("config") == "" {
		return nil, usageError(cmd, "--adapter needs --config")
	}
	address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, flags.String("config"), flags.String("adapter"))
	if err != nil {
		return nil, usageError(cmd, "finding the admin endpoint: %w", err)
	}
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return nil, usageError(cmd, "the address %q of the admin endpoint: %w", address, err)
	}
	if parsed.PortRangeSize() > 1 {
		return nil, usageError(cmd, "the address %q of the admin endpoint must have one port", address)
	}
	endpoint := &adminEndpoint{address: address, base: "http://127.0.0.1"}
	if parsed.IsUnixNetwork() {
		parsed.Host, _, _ = strings.Cut(parsed.Host, "|") // the permissions of the socket
	} else if !parsed.IsFdNetwork() && !strings.HasPrefix(parsed.Network, "tcp") {
		return nil, usageError(cmd, "the address %q of the admin endpoint must be a host and a port, or a socket: it has no scheme and no path", address)
	} else if !parsed.IsFdNetwork() {
		endpoint.base = "http://" + parsed.JoinHostPort(0)
		endpoint.origin = endpoint.base
	}
	dialer := &net.Dialer{Timeout: adminDialTimeout}
	endpoint.client = &http.Client{
		Timeout:       adminAnswerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, // a reload may end the listener between two requests
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, parsed.Network, parsed.JoinHostPort(0))
			},
		},
	}
	return endpoint, nil
}

// get reads the JSON that stands at a path.
func (e *adminEndpoint) get(ctx context.Context, path string, query url.Values, into any) (json.RawMessage, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return e.callFor(ctx, http.MethodGet, path, nil, into)
}

// post sends JSON to a path and reads that of the answer.
func (e *adminEndpoint) post(ctx context.Context, path string, body, into any) (json.RawMessage, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return e.callFor(ctx, http.MethodPost, path, data, into)
}

func (e *adminEndpoint) callFor(ctx context.Context, method, path string, body []byte, into any) (json.RawMessage, error) {
	answer, err := e.call(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return nil, commandFailure(exitRefused, "the answer of the admin endpoint at %s to %s %s is not what it should be: %w", e.address, method, path, err)
	}
	return bytes.TrimSpace(answer), nil
}

// call sends a request and returns the body of the answer, or an error that says
// whether the endpoint could not be reached or has refused.
func (e *adminEndpoint) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, e.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if e.origin != "" {
		request.Header.Set("Origin", e.origin)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := e.client.Do(request)
	if err != nil {
		return nil, e.unreachable(err)
	}
	defer response.Body.Close()
	e.note(response.Header.Get("Ws-Gateway-Missing"))
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, e.unreachable(err)
	case len(answer) > maxAnswer:
		return nil, commandFailure(exitRefused, "the answer of the admin endpoint at %s has more than %d bytes", e.address, maxAnswer)
	}
	if response.StatusCode/100 != 2 {
		return nil, commandFailure(exitRefused, "the admin endpoint at %s says %s: %s", e.address, response.Status, sentenceOf(response.StatusCode, answer))
	}
	return answer, nil
}

// note remembers nodes that did not answer, each once.
func (e *adminEndpoint) note(missing string) {
	for name := range strings.SplitSeq(missing, ", ") {
		if name != "" && !slices.Contains(e.missing, name) {
			e.missing = append(e.missing, name)
		}
	}
}

func (e *adminEndpoint) unreachable(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, which says less than the address
	}
	return commandFailure(exitUnreachable, "cannot reach the admin endpoint at %s: %w", e.address, err)
}

// sentenceOf is what an answer that is a refusal says, as Caddy puts it.
func sentenceOf(status int, answer []byte) string {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &said) == nil && said.Error != "" {
		return said.Error
	}
	if status == http.StatusNotFound {
		return "there is nothing of a ws_gateway there: is that Caddy built with the module, and as new as this one?"
	}
	text := strings.ToValidUTF8(strings.TrimSpace(string(answer[:min(len(answer), maxSentence)])), "")
	if text == "" {
		return "no reason given"
	}
	return text
}
