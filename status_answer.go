package wsgateway

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// statusPolicy allows the page its own script, style and data, and nothing else.
const statusPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// setStatusHeader sets what every answer of the page has.
func setStatusHeader(h http.Header) {
	h.Set("Content-Security-Policy", statusPolicy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

func answerStatus(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client is gone, or gets it
	return nil
}

// answerProblem answers with what is wrong, in the form of the admin endpoint. The page
// shows it, so that it is no error for handlers of errors.
func answerProblem(w http.ResponseWriter, problem error) error {
	status := http.StatusInternalServerError
	if known, ok := errors.AsType[caddy.APIError](problem); ok {
		status = known.HTTPStatus
		problem = known.Err
	}
	return answerStatus(w, status, map[string]string{"error": problem.Error()})
}
