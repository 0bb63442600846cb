package wsgateway

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

const revocationsPath = adminRoot + "revocations"

// defaultRevocation is how long a revocation lasts where nobody says.
const defaultRevocation = 30 * 24 * time.Hour

// adminRevocations serves revocationsPath and what is below it.
//
//	GET    /ws_gateway/revocations?jti=&user=&gateway=&limit=&after=
//	POST   /ws_gateway/revocations
//	DELETE /ws_gateway/revocations/{id}
func adminRevocations(set *live.Set, kept *records) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if id := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, revocationsPath), "/"); id != "" {
			return deleteRevocation(set, kept, id, w, r)
		}
		if err := allowMethods(w, r, http.MethodGet, http.MethodHead, http.MethodPost); err != nil {
			return err
		}
		if r.Method == http.MethodPost {
			return addRevocation(set, kept, w, r)
		}
		return listRevocations(set, w, r)
	}
}

func addRevocation(set *live.Set, kept *records, w http.ResponseWriter, r *http.Request) error {
	if err := allowParameters(r.URL); err != nil {
		return err
	}
	now := time.Now()
	wanted, err := readRevocation(r.Body, now)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	if wanted.Until.IsZero() {
		wanted.Until = defaultUntil(set, wanted, now)
	}
	made, ended, err := kept.revoke(r.Context(), wanted.Identify())
	switch {
	case errors.Is(err, revocation.ErrFull):
		return adminError(http.StatusInsufficientStorage, "%w", err)
	case err != nil:
		return adminError(http.StatusInternalServerError, "%w", err)
	}
	w.Header().Set("Location", revocationsPath+"/"+made.ID)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	return writeJSON(w, struct {
		ID    string    `json:"id"`
		Ended int       `json:"ended"`
		Until time.Time `json:"until"`
	}{made.ID, ended, made.Until})
}

// defaultUntil is when a revocation lapses where nobody says: with the last token of its
// ID, as far as that is known of live connections.
func defaultUntil(set *live.Set, r revocation.Revocation, now time.Time) time.Time {
	if r.JTI != "" {
		if end := set.LatestEnd(r.JTI, r.Gateway); end.After(now) {
			return end
		}
	}
	return now.Add(defaultRevocation).Truncate(time.Second)
}

func deleteRevocation(set *live.Set, kept *records, id string, w http.ResponseWriter, r *http.Request) error {
	if err := allowMethods(w, r, http.MethodDelete); err != nil {
		return err
	}
	if err := allowParameters(r.URL); err != nil {
		return err
	}
	if known := set.Revocations.Get(id); known == nil || known.Over(time.Now()) {
		return adminError(http.StatusNotFound, "there is no revocation %q", id)
	}
	if err := kept.pardon(r.Context(), id); err != nil {
		return adminError(http.StatusInternalServerError, "the revocation is still in force: Caddy's storage: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func listRevocations(set *live.Set, w http.ResponseWriter, r *http.Request) error {
	query, err := parametersOf(r.URL)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	if err := allowParameters(r.URL, "after", "gateway", "jti", "limit", "user"); err != nil {
		return err
	}
	limit, err := limitOf(query)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	is := func(name, value string) bool { return !query.Has(name) || query.Get(name) == value }
	page := set.Revocations.Page(query.Get("after"), limit, func(r *revocation.Revocation) bool {
		return is("jti", r.JTI) && is("user", r.User) && is("gateway", r.Gateway)
	})
	if page == nil {
		page = []*revocation.Revocation{} // and not null
	}
	return answerJSON(w, page)
}
