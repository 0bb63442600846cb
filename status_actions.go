package wsgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/origin"
	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

// maxStatusBody is how long the body of an action may be.
const maxStatusBody = 16 << 10

// statusActions do what the buttons of the page say, as the admin endpoint does it.
type statusActions struct {
	set    *live.Set
	kept   *records
	node   *fleetNode
	logger *zap.Logger
}

// statusAction is the request of the admin endpoint that an action stands for.
type statusAction struct {
	method  string
	path    string
	target  string   // the member of the action that is added to the path; "" for none
	members []string // those that are in the body of the admin endpoint as well
	handler func(*statusActions) caddy.AdminHandlerFunc
}

var statusActionsByName = map[string]statusAction{
	"upstream": {
		method: http.MethodPost, path: adminUpstreams + "?address=", target: "address", members: []string{"state"},
		handler: func(a *statusActions) caddy.AdminHandlerFunc { return adminUpstream(a.set, a.kept) },
	},
	"node": {
		method: http.MethodPost, path: nodePath, members: []string{"state", "period"},
		handler: func(a *statusActions) caddy.AdminHandlerFunc { return adminNode(a.set, a.node) },
	},
	"end": {
		method: http.MethodDelete, path: connectionsPath + "/", target: "id",
		handler: func(a *statusActions) caddy.AdminHandlerFunc { return adminConnections(a.set, a.node) },
	},
	"revoke": {
		method: http.MethodPost, path: revocationsPath, members: []string{"user", "jti", "gateway"},
		handler: func(a *statusActions) caddy.AdminHandlerFunc { return adminRevocations(a.set, a.kept) },
	},
}

// serve answers POST {"action": "upstream", "address": "…", "state": "drain"}, and so on.
func (a *statusActions) serve(w http.ResponseWriter, r *http.Request) error {
	if err := checkStatusAction(r); err != nil {
		return answerProblem(w, err)
	}
	object, err := readObject(r.Body, maxStatusBody)
	if err != nil {
		return answerProblem(w, adminError(http.StatusBadRequest, "the body must be a JSON object: %w", err))
	}
	name, _ := object.Get("action").Text()
	action, known := statusActionsByName[name]
	if !known {
		return answerProblem(w, adminError(http.StatusBadRequest,
			"action must be one of %s", strings.Join(slices.Sorted(maps.Keys(statusActionsByName)), ", ")))
	}
	inner, fields, err := action.read(r.Context(), object)
	if err != nil {
		return answerProblem(w, adminError(http.StatusBadRequest, "%s: %w", name, err))
	}
	err = action.handler(a)(withoutLocation{w}, inner)
	a.logger.Info("action on the status page", append(fields, zap.String("action", name),
		zap.String("by", userOf(r)), zap.String("remote_ip", clientIP(r)), zap.Error(err))...)
	if err != nil {
		return answerProblem(w, err)
	}
	return nil
}

// checkStatusAction refuses what another page has sent. Browsers say so in Sec-Fetch-Site,
// which they leave out only where a site is neither https nor local, and then Origin tells.
func checkStatusAction(r *http.Request) error {
	switch sites := r.Header.Values("Sec-Fetch-Site"); {
	case len(sites) == 1 && sites[0] == "same-origin":
	case len(sites) == 0 && isOwnOrigin(r):
	default:
		return adminError(http.StatusForbidden, "only the page itself may ask for this")
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return adminError(http.StatusUnsupportedMediaType, "the body must be application/json")
	}
	return nil
}

var ownPages = func() *origin.Policy {
	policy, err := origin.New([]string{"same"})
	if err != nil {
		panic(err)
	}
	return policy
}()

func isOwnOrigin(r *http.Request) bool {
	return ownPages.Allow(r, forwarder{}.pageOrigin(r), true, true)
}

// read makes the request of the admin endpoint, and what a log shows of it.
func (a statusAction) read(ctx context.Context, object strictjson.Object) (*http.Request, []zap.Field, error) {
	target, body, fields := a.path, make(map[string]string), []zap.Field(nil)
	for _, member := range object {
		name := string(member.Name)
		if name == "action" {
			continue
		}
		text, ok := member.Value.Text()
		if !ok || text == "" {
			return nil, nil, fmt.Errorf("%.64q must be a text", name)
		}
		switch {
		case name == a.target:
			target += url.QueryEscape(text)
		case slices.Contains(a.members, name):
			body[name] = text
		default:
			return nil, nil, fmt.Errorf("the member %.64q is unknown", name)
		}
		fields = append(fields, zap.String(name, text))
	}
	if a.target != "" && target == a.path {
		return nil, nil, fmt.Errorf("%s is missing", a.target)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, nil, err
	}
	r, err := http.NewRequestWithContext(ctx, a.method, target, bytes.NewReader(data))
	return r, fields, err
}

// withoutLocation leaves out where the admin endpoint has what an action made.
type withoutLocation struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w withoutLocation) WriteHeader(status int) {
	w.Header().Del("Location")
	w.ResponseWriter.WriteHeader(status)
}
