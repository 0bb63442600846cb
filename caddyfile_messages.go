package wsgateway

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const messagesNamespace = "http.ws_gateway.messages"

// unmarshalMessages parses a block with handlers. Each of them parses its own tokens:
//
//	messages [from_client|from_upstream] {
//	    budget <duration>
//	    <handler...>
//	}
func (h *Handler) unmarshalMessages(d *caddyfile.Dispenser) error {
	block := new(MessageBlock)
	if args := d.RemainingArgs(); len(args) > 0 {
		block.Direction = args[0]
		if len(args) > 1 || block.validate() != nil {
			return d.Errf("messages takes %s, %s or nothing, and a block of handlers, not %q: a rate of messages stands in limit",
				fromClient, fromUpstream, strings.Join(args, " "))
		}
	}
	opened := false
	for d.NextBlock(0) {
		opened = true
		word := caddyfile.NewDispenser(wordTokens(d))
		word.Next()
		if err := block.unmarshalWord(word); err != nil {
			return err
		}
	}
	if !opened && d.Val() != "}" { // an empty one checks the framing and does no more
		return d.Errf("messages has no block: it holds the handlers: %s", strings.Join(registered(messagesNamespace), ", "))
	}
	h.Messages = append(h.Messages, block)
	return nil
}

func (b *MessageBlock) unmarshalWord(d *caddyfile.Dispenser) (err error) {
	word := d.Val()
	if word == "budget" {
		if b.Budget != 0 {
			return d.Err("budget is already set: it may stand once")
		}
		b.Budget, err = durationArg(d, "budget", 1)
		return err
	}
	if err := checkMessageHandler(d, word); err != nil {
		return err
	}
	handler, err := caddyfile.UnmarshalModule(d, messagesNamespace+"."+word)
	if err != nil {
		return err
	}
	b.HandlersRaw = append(b.HandlersRaw, caddyconfig.JSONModuleObject(handler, "handler", word, nil))
	return nil
}

func checkMessageHandler(d *caddyfile.Dispenser, word string) error {
	known := registered(messagesNamespace)
	if slices.Contains(known, word) {
		return nil
	}
	if word == "else" {
		return d.Err("else stands on its own: it belongs behind its handler on the same line, as in filter <expression> else drop, or in its block, as of json and schema")
	}
	return d.Errf("unknown message handler %q%s: there are %s, and budget",
		word, guess(word, append(known, "budget")), strings.Join(known, ", "))
}
