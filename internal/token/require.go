package token

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

// requirements must all be met.
type requirements []Requirement

func (o *Options) newRequirements(configs []Requirement) (requirements, error) {
	var all requirements
	for i, config := range configs {
		field := fmt.Sprintf("require[%d]", i)
		switch {
		case config.Claim == "":
			return nil, fmt.Errorf("%s: claim is empty: name one such as \"scope\"", field)
		case len(config.Values) == 0:
			return nil, fmt.Errorf("%s: values is empty, so that no token could ever pass: give at least one", field)
		}
		claim, err := o.resolveText(field+".claim", config.Claim)
		if err != nil {
			return nil, err
		}
		values, err := o.resolveTexts(field+".values", config.Values)
		if err != nil {
			return nil, err
		}
		all = append(all, Requirement{Claim: claim, Values: values})
	}
	return all, nil
}

func (rs requirements) met(c claims) bool {
	for _, r := range rs {
		if !r.met(c) {
			return false
		}
	}
	return true
}

func (r Requirement) met(c claims) bool {
	v := c.lookup(r.Claim)
	if elements, ok := v.Elements(); ok {
		return slices.ContainsFunc(elements, r.holds)
	}
	if r.holds(v) {
		return true
	}
	// Only scopes are lists in a string (RFC 8693, section 4.2): in a name, a
	// word means nothing.
	name := r.Claim[strings.LastIndexByte(r.Claim, '.')+1:]
	text, ok := v.Text()
	if !ok || name != "scope" && name != "scp" {
		return false
	}
	for word := range strings.SplitSeq(text, " ") {
		if slices.Contains(r.Values, word) {
			return true
		}
	}
	return false
}

func (r Requirement) holds(v strictjson.Value) bool {
	text, ok := scalar(v)
	return ok && slices.Contains(r.Values, text)
}
