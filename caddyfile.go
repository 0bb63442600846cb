package wsgateway

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/origin"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("ws_gateway", parseGateway)
	httpcaddyfile.RegisterDirectiveOrder("ws_gateway", httpcaddyfile.Before, "reverse_proxy")
}

// parseGateway sets up the handler from Caddyfile tokens. Syntax:
//
//	ws_gateway [<matcher>] [<upstreams...>] {
//	    # the words of gatewayWords, and every subdirective of reverse_proxy,
//	    # except for those of refusedWords
//	}
//
// docs/configuration.md has the whole grammar. The tokens of reverse_proxy go to
// its own parser as they are.
func parseGateway(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	ours, theirs := splitWords(h.Dispenser)

	gateway := new(Handler)
	seen := make(map[string]bool)
	for _, word := range ours {
		d := caddyfile.NewDispenser(word)
		d.Next()
		if reason, refused := refusedWords[d.Val()]; refused {
			return nil, d.Errf("%s is not for WebSockets here: %s", d.Val(), reason)
		}
		if d.Val() != "messages" { // of which there may be several
			if err := once(d, seen, d.Val()); err != nil {
				return nil, err
			}
		}
		if err := gatewayWords[d.Val()](gateway, d); err != nil {
			return nil, err
		}
	}
	if err := gateway.unmarshalProxy(h, theirs); err != nil {
		return nil, err
	}
	return gateway, nil
}

// gatewayWords are the subdirectives that are not reverse_proxy's. Each is
// given a dispenser over its own tokens that stands on the word itself.
var gatewayWords = map[string]func(*Handler, *caddyfile.Dispenser) error{
	"name":               (*Handler).unmarshalName,
	"auth":               (*Handler).unmarshalAuth,
	"origins":            (*Handler).unmarshalOrigins,
	"max_conns":          (*Handler).unmarshalMaxConns,
	"queue":              (*Handler).unmarshalQueue,
	"slow_start":         (*Handler).unmarshalSlowStart,
	"rebalance":          (*Handler).unmarshalRebalance,
	"max_age":            (*Handler).unmarshalMaxAge,
	"limit":              (*Handler).unmarshalLimit,
	"ping":               (*Handler).unmarshalPing,
	"idle_timeout":       (*Handler).unmarshalIdleTimeout,
	"strict":             (*Handler).unmarshalStrict,
	"messages":           (*Handler).unmarshalMessages,
	"streams":            (*Handler).unmarshalStreams,
	"early_close_count":  (*Handler).unmarshalEarlyCloseCount,
	"early_close_window": (*Handler).unmarshalEarlyCloseWindow,
	"panic_threshold":    (*Handler).unmarshalPanicThreshold,
	"health_websocket":   (*Handler).unmarshalHealthWebSocket,
	"drain_unhealthy":    (*Handler).unmarshalDrainUnhealthy,
	"handshake_timeout":  (*Handler).unmarshalHandshakeTimeout,
	"write_timeout":      (*Handler).unmarshalWriteTimeout,
	"drain_period":       (*Handler).unmarshalDrainPeriod,
	"log_sampling":       (*Handler).unmarshalLogSampling,
}

// refusedWords are the subdirectives of reverse_proxy that would be without
// effect here, each with what to do instead.
var refusedWords = map[string]string{
	"stream_timeout":     "live connections are not cut by a timeout; use max_age, which ends them with 1012",
	"stream_close_delay": "a reload leaves live connections alone and drains those of removed upstreams; use drain_period",
	"stream_buffer_size": "the relay sizes its buffers by itself; remove it",
}

// splitWords takes the subdirectives that are ours, or that we refuse, out of
// the directive that d stands on. The rest is reverse_proxy's and stays as it
// is. Only the first word of a line of the directive's own block counts.
func splitWords(d *caddyfile.Dispenser) (ours [][]caddyfile.Token, theirs []caddyfile.Token) {
	theirs = append(theirs, d.Token())
	for d.NextArg() {
		theirs = append(theirs, d.Token())
	}
	opened := false
	for d.NextBlock(0) {
		if !opened {
			opened = true
			d.Prev() // NextBlock went past the opening brace
			theirs = append(theirs, d.Token())
			d.Next()
		}
		_, known := gatewayWords[d.Val()]
		_, refused := refusedWords[d.Val()]
		if word := wordTokens(d); known || refused {
			ours = append(ours, word)
		} else {
			theirs = append(theirs, word...)
		}
	}
	if opened {
		theirs = append(theirs, d.Token()) // the closing brace
	}
	return ours, theirs
}

// unmarshalProxy has reverse_proxy parse what is left of the directive.
func (h *Handler) unmarshalProxy(helper httpcaddyfile.Helper, tokens []caddyfile.Token) error {
	if err := checkModuleWords(tokens); err != nil {
		return err
	}
	proxy := new(reverseproxy.Handler)
	d := caddyfile.NewDispenser(tokens)
	if err := proxy.UnmarshalCaddyfile(d); err != nil {
		return explainUnknownWord(d, err)
	}
	if err := proxy.FinalizeUnmarshalCaddyfile(helper); err != nil {
		return err
	}
	if len(proxy.Upstreams) == 0 && proxy.DynamicUpstreamsRaw == nil {
		d.Reset()
		d.Next()
		return d.Err("ws_gateway has no upstream: name one behind the directive, with to or with dynamic")
	}
	h.Proxy = proxy
	d.Reset()
	d.Next()
	return h.checkTogether(d)
}

// explainUnknownWord adds the allowed words to reverse_proxy's error about a word
// that neither handler knows.
func explainUnknownWord(d *caddyfile.Dispenser, err error) error {
	if d.Nesting() != 1 || !strings.HasPrefix(err.Error(), "unrecognized subdirective "+d.Val()+", at ") {
		return err
	}
	if _, ofLimit := limitWords[d.Val()]; ofLimit {
		return d.Errf("%s stands in a block: write limit { %s … }", d.Val(), d.Val())
	}
	known := sortedKeys(gatewayWords)
	return d.Errf("unknown subdirective %q%s: ws_gateway has %s, and every subdirective of reverse_proxy",
		d.Val(), guess(d.Val(), known), strings.Join(known, ", "))
}

// unmarshalName parses:
//
//	name <name>
func (h *Handler) unmarshalName(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "name <name>", 1, 1)
	if err != nil {
		return err
	}
	if !validName.MatchString(args[0]) {
		return d.Errf("name %q must be 1 to 64 letters, digits, or one of . _ -", args[0])
	}
	h.Name = args[0]
	return nil
}

// unmarshalOrigins parses:
//
//	origins <pattern...>
func (h *Handler) unmarshalOrigins(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "origins <pattern...>", 1, -1)
	if err != nil {
		return err
	}
	if _, err := origin.New(args); err != nil {
		return d.WrapErr(err)
	}
	h.Origins = args
	return nil
}

// unmarshalMaxConns parses:
//
//	max_conns <n>
func (h *Handler) unmarshalMaxConns(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "max_conns <n>", 1, 1)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return d.Errf("max_conns must be a whole number of at least 1, not %q: leave it out for no cap", args[0])
	}
	h.MaxConns = n
	return nil
}

// unmarshalStreams parses:
//
//	streams [<content type...>]
func (h *Handler) unmarshalStreams(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "streams [<content type...>]", 0, -1)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{typeEventStream}
	}
	if _, err := newStreamTypes(args); err != nil {
		return d.WrapErr(err)
	}
	h.Streams = args
	return nil
}

// unmarshalHandshakeTimeout parses:
//
//	handshake_timeout <duration>
func (h *Handler) unmarshalHandshakeTimeout(d *caddyfile.Dispenser) (err error) {
	h.HandshakeTimeout, err = durationArg(d, "handshake_timeout", 1)
	return err
}

// unmarshalWriteTimeout parses:
//
//	write_timeout <duration>
func (h *Handler) unmarshalWriteTimeout(d *caddyfile.Dispenser) (err error) {
	h.WriteTimeout, err = durationArg(d, "write_timeout", 1)
	return err
}

// unmarshalDrainPeriod parses:
//
//	drain_period <duration>
func (h *Handler) unmarshalDrainPeriod(d *caddyfile.Dispenser) error {
	period, err := durationArg(d, "drain_period", 0)
	if err != nil {
		return err
	}
	h.DrainPeriod = &period
	return nil
}
