package wsgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// revoker is the admin endpoint of revocations, with connections and a storage of its own.
type revoker struct {
	set     *live.Set
	kept    *records
	storage *memoryStorage
}

func newRevoker(t *testing.T) *revoker {
	t.Helper()
	r := &revoker{set: live.NewSet(live.Reports{Closed: func(*zap.Logger, *live.Conn, relay.Outcome) {}}, func() bool { return false }), storage: new(memoryStorage)}
	r.kept = newRecords(r.set)
	t.Cleanup(r.kept.book.Attach(context.Background(), r.storage, zap.NewNop()))
	return r
}

// do asks the endpoint.
func (r *revoker) do(method, target, body string) (status int, answer string, rec *httptest.ResponseRecorder) {
	rec = httptest.NewRecorder()
	err := adminRevocations(r.set, r.kept)(rec, httptest.NewRequest(method, revocationsPath+target, strings.NewReader(body)))
	if err != nil {
		return apiStatus(err), err.Error(), rec
	}
	return rec.Code, strings.TrimSpace(rec.Body.String()), rec
}

// stored are the keys of the revocations in the storage.
func (r *revoker) stored(t *testing.T) []string {
	t.Helper()
	keys, err := r.storage.List(t.Context(), "ws_gateway/"+revocationRecords, true)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// made is the answer to a revocation.
type made struct {
	ID    string
	Ended int
	Until time.Time
}

// revoke makes a revocation, which must be taken.
func (r *revoker) revoke(t *testing.T, body string) (m made) {
	t.Helper()
	status, answer, rec := r.do("POST", "", body)
	if status != 201 || json.Unmarshal([]byte(answer), &m) != nil || m.ID == "" {
		t.Fatalf("%s: %d %s", body, status, answer)
	}
	if place := rec.Header().Get("Location"); place != revocationsPath+"/"+m.ID {
		t.Errorf("%s: Location is %q", body, place)
	}
	return m
}

// listed is what the endpoint lists.
func (r *revoker) listed(t *testing.T, query string) (all []revocation.Revocation) {
	t.Helper()
	status, answer, rec := r.do("GET", query, "")
	if status != 200 || rec.Header().Get("Content-Type") != "application/json" || json.Unmarshal([]byte(answer), &all) != nil || all == nil {
		t.Fatalf("GET %s: %d %s", query, status, answer)
	}
	return all
}

func TestRevocationIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	soon := time.Now().Add(30 * time.Second).Format(time.RFC3339)
	late := time.Now().Add(2 * time.Minute).Format(time.RFC3339)
	rows := []struct{ body, says string }{
		{`{}`, "jti or user must say what to revoke"},
		{`{"gateway":"chat"}`, "jti or user"},
		{`{"jti":"t","user":"alice"}`, "jti and user exclude each other"},
		{`{"jti":"t","issued_before":"2020-01-01T00:00:00Z"}`, "issued_before goes with user"},
		{`{"jti":"t","until":"2099-01-01T00:00:00Z","for":"1h"}`, "until and for exclude each other"},
		{`{"jti":"t","for":"1h","until":"2099-01-01T00:00:00Z"}`, "until and for exclude each other"},
		{`{"jti":"t","until":"2020-01-01T00:00:00Z"}`, "until is in the past"},
		{`{"jti":"t","until":"` + time.Now().UTC().Format(time.RFC3339) + `"}`, "until is in the past"},
		{`{"user":"alice","issued_before":"` + late + `"}`, "issued_before is in the future"},
		{`{"jti":"t","for":"0s"}`, "for must be more than nothing"},
		{`{"jti":"t","for":"-1h"}`, "for must be more than nothing"},
		{`{"jti":"t","for":-1}`, "for must be more than nothing"},
		{`{"jti":"t","name":"x"}`, `"name" is unknown`},
		{`{"jti":"t","Code":4000}`, `"Code" is unknown`},
		{`{"jti":"t","id":"0123"}`, `"id" is unknown`},
		{`{"jti":"t","jti":"u"}`, "stands twice"},
		{`{"jti":"t","\u006ati":"u"}`, "stands twice"},
		{`{"jti":"t","reason":"` + strings.Repeat("r", 124) + `"}`, "reason must be a text of at most 123 bytes"},
		{`{"jti":"t","reason":"` + strings.Repeat("ü", 62) + `"}`, "reason must be a text of at most 123 bytes"},
		{`{"jti":""}`, "jti must be a text of 1 to 4096 bytes"},
		{`{"user":""}`, "user must be a text of 1 to 4096 bytes"},
		{`{"jti":"` + long + `"}`, "jti must be a text of 1 to 4096 bytes"},
		{`{"user":"` + long + `"}`, "user must be a text of 1 to 4096 bytes"},
		{`{"jti":"t","gateway":""}`, "gateway must be the name of a gateway"},
		{`{"jti":"t","gateway":"a b"}`, "gateway must be the name of a gateway"},
		{`{"jti":"t"` + strings.Repeat(" ", maxRevocationBody) + `}`, "more than 65536 bytes"},
		{`{"jti":"t"}` + strings.Repeat(" ", maxRevocationBody), "more than 65536 bytes"},
		{``, "body must be"}, {`null`, "body must be"}, {`[{"jti":"t"}]`, "body must be"}, {`"t"`, "body must be"},
		{`{"jti":"t"}{"jti":"u"}`, "body must be"}, {`{"jti":"t"} x`, "body must be"}, {`{"jti":"t"`, "body must be"},
		{"{\"jti\":\"\xff\"}", "body must be"}, {`jti=t`, "body must be"},
	}
	for _, name := range []string{"jti", "user", "gateway", "issued_before", "until", "for", "code", "reason"} {
		for _, value := range []string{`null`, `true`, `1.5`, `{}`, `["t"]`} {
			rows = append(rows, struct{ body, says string }{`{"` + name + `":` + value + `}`, name + " must be "})
		}
	}
	for _, at := range []string{``, `now`, `2099-01-01`, `2099-01-01 00:00:00Z`, `2099-13-01T00:00:00Z`, `2099-01-01T00:00:00`, `1969-12-31T23:59:59Z`, soon + " ", "4102444800"} {
		rows = append(rows,
			struct{ body, says string }{`{"jti":"t","until":"` + at + `"}`, "until must be a time"},
			struct{ body, says string }{`{"user":"alice","issued_before":"` + at + `"}`, "issued_before must be a time"})
	}
	for _, lasts := range []string{`"soon"`, `""`, `"1"`, `"1 day"`, `"9999999d"`, `1e3`, `99999999999999999999`} {
		rows = append(rows, struct{ body, says string }{`{"jti":"t","for":` + lasts + `}`, "for "})
	}
	for _, code := range []string{`-1`, `0`, `999`, `1001`, `1002`, `1003`, `1004`, `1005`, `1006`, `1007`, `1009`, `1010`, `1011`, `1012`, `1015`, `2999`, `5000`, `3000.5`, `3e3`, `"3000"`} {
		rows = append(rows, struct{ body, says string }{`{"jti":"t","code":` + code + `}`, "code must be 1000, 1008, or a number from 3000 to 4999"})
	}
	r := newRevoker(t)
	for _, row := range rows {
		if status, answer, _ := r.do("POST", "", row.body); status != 400 || !strings.Contains(answer, row.says) {
			t.Errorf("%.80s: %d %s, want 400 and %q in it", row.body, status, answer, row.says)
		}
	}
	if all := r.listed(t, ""); len(all) != 0 {
		t.Errorf("%d are listed after requests that were refused: %+v", len(all), all)
	}
	if keys := r.stored(t); len(keys) != 0 {
		t.Errorf("stored are %q after requests that were refused", keys)
	}
}

func TestRequestsForRevocationsAreRefused(t *testing.T) {
	t.Parallel()
	r := newRevoker(t)
	id := r.revoke(t, `{"jti":"t"}`).ID
	for _, row := range []struct {
		method, target string
		status         int
		says, allow    string
	}{
		{"DELETE", "", 405, "use GET or HEAD or POST", "GET, HEAD, POST"},
		{"PUT", "", 405, "use GET or HEAD or POST", "GET, HEAD, POST"},
		{"PATCH", "", 405, "use GET or HEAD or POST", "GET, HEAD, POST"},
		{"GET", "/" + id, 405, "use DELETE", "DELETE"},
		{"POST", "/" + id, 405, "use DELETE", "DELETE"},
		{"PUT", "/none", 405, "use DELETE", "DELETE"},
		{"DELETE", "/none", 404, `no revocation "none"`, ""},
		{"DELETE", "/" + id + "0", 404, "no revocation", ""},
		{"DELETE", "/" + id + "/", 404, "no revocation", ""},
		{"DELETE", "/" + strings.ToUpper(id) + "Z", 404, "no revocation", ""},
		{"DELETE", "/..%2f" + id, 404, "no revocation", ""},
		{"DELETE", "/" + id + "?force=1", 400, `unknown parameter "force"`, ""},
		{"DELETE", "/" + id + "?%zz", 400, "query is damaged", ""},
		{"POST", "?jti=t", 400, `unknown parameter "jti": none is allowed here`, ""},
		{"GET", "?id=" + id, 400, `unknown parameter "id": allowed are after, gateway, jti, limit, user`, ""},
		{"GET", "?user=a&user=b", 400, "user must be given once", ""},
		{"GET", "?limit=0", 400, "limit must be a number from 1 to 10000", ""},
		{"GET", "?limit=-1", 400, "limit must be a number from 1 to 10000", ""},
		{"GET", "?limit=x", 400, "limit must be a number from 1 to 10000", ""},
		{"GET", "?limit=", 400, "limit must be a number from 1 to 10000", ""},
		{"GET", "?limit=10001", 400, "limit must be a number from 1 to 10000", ""},
		{"GET", "?limit=99999999999999999999", 400, "limit must be a number from 1 to 10000", ""},
	} {
		status, answer, rec := r.do(row.method, row.target, `{"jti":"u"}`)
		if status != row.status || !strings.Contains(answer, row.says) || rec.Header().Get("Allow") != row.allow {
			t.Errorf("%s %s: %d %s (Allow %q), want %d %s (%q)", row.method, row.target, status, answer, rec.Header().Get("Allow"), row.status, row.says, row.allow)
		}
	}
	if all := r.listed(t, ""); len(all) != 1 || all[0].ID != id {
		t.Errorf("listed are %+v, want what was there before", all)
	}
}

func TestRevocationIsKeptUntilItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bubble.Elapse(100 * time.Millisecond) // dates are kept in seconds, the end is not
		now := time.Now()
		for body, want := range map[string]time.Duration{
			`{"jti":"t"}`: 30*24*time.Hour - 100*time.Millisecond, `{"user":"alice"}`: 30*24*time.Hour - 100*time.Millisecond,
			`{"jti":"t","for":"90s"}`: 90 * time.Second, `{"jti":"t","for":"1.5h"}`: 90 * time.Minute, `{"jti":"t","for":"2d"}`: 48 * time.Hour,
			`{"jti":"t","for":5000000000}`: 5 * time.Second, `{"jti":"t","for":"1d12h"}`: 36 * time.Hour,
			`{"jti":"t","until":"` + now.Add(time.Hour).Format(time.RFC3339Nano) + `"}`:                                   time.Hour,
			`{"jti":"t","until":"` + now.Add(time.Hour).In(time.FixedZone("", -7200)).Format(time.RFC3339Nano) + `"}`:     time.Hour,
			`{"user":"alice","until":"` + now.Add(400*24*time.Hour).Format(time.RFC3339Nano) + `"}`:                       400 * 24 * time.Hour,
			`{"user":"alice","for":"1h","issued_before":"` + now.Add(time.Minute).Format(time.RFC3339) + `"}`:             time.Hour,
			`{"user":"alice","for":"1h","issued_before":"1970-01-01T00:00:00Z","gateway":"chat","code":1008,"reason":""}`: time.Hour,
		} {
			r := newRevoker(t)
			m := r.revoke(t, body)
			all := r.listed(t, "")
			if len(all) != 1 || all[0].ID != m.ID || !all[0].Until.Equal(m.Until) || !all[0].Created.Equal(now.Truncate(time.Second)) {
				t.Fatalf("%s: answered %+v, listed are %+v", body, m, all)
			}
			if got := m.Until.Sub(now); got != want || m.Ended != 0 {
				t.Errorf("%s: lasts %s, want %s; %d were ended", body, got, want, m.Ended)
			}
		}
		r := newRevoker(t)
		id := r.revoke(t, `{"jti":"t","for":"1m"}`).ID
		bubble.Elapse(time.Minute)
		if all := r.listed(t, ""); len(all) != 0 {
			t.Errorf("listed are %+v after the end", all)
		}
		if status, answer, _ := r.do("DELETE", "/"+id, ""); status != 404 {
			t.Errorf("deleting what has lapsed: %d %s", status, answer)
		}
	})
}

func TestSameRevocationIsTheSame(t *testing.T) {
	t.Parallel()
	r := newRevoker(t)
	for _, row := range []struct{ what, differs string }{
		{`"jti":"t"`, `"jti":"t","gateway":"chat"`},
		{`"user":"alice","issued_before":"2020-01-01T00:00:00Z"`, `"user":"alice","issued_before":"2020-01-01T00:00:01Z"`},
	} {
		first := r.revoke(t, `{`+row.what+`,"for":"1h"}`)
		longer := r.revoke(t, `{`+row.what+`,"for":"3h","code":4001}`)
		shorter := r.revoke(t, `{`+row.what+`,"for":"2h","reason":"again"}`)
		if longer.ID != first.ID || shorter.ID != first.ID || !longer.Until.After(first.Until) || !shorter.Until.Equal(longer.Until) {
			t.Errorf("%s: answered %+v, %+v and %+v", row.what, first, longer, shorter)
		}
		if other := r.revoke(t, `{`+row.differs+`}`); other.ID == first.ID {
			t.Errorf("%s and %s have the same ID", row.what, row.differs)
		}
	}
	all := r.listed(t, "")
	if len(all) != 4 {
		t.Errorf("%d are listed, want 4", len(all))
	}
	for _, one := range all {
		if status, answer, _ := r.do("DELETE", "/"+one.ID, ""); status != 204 || answer != "" {
			t.Errorf("deleting: %d %s", status, answer)
		}
		if status, _, _ := r.do("DELETE", "/"+one.ID, ""); status != 404 {
			t.Errorf("deleting again: %d", status)
		}
	}
	if all := r.listed(t, ""); len(all) != 0 {
		t.Errorf("%d are listed after they were deleted", len(all))
	}
}

func TestRevocationsAreListedInPages(t *testing.T) {
	t.Parallel()
	r := newRevoker(t)
	const n = 3500
	for i := range n {
		rev := revocation.Revocation{JTI: fmt.Sprint(i), Until: time.Now().Add(time.Hour)}
		switch i % 5 {
		case 0:
			rev.JTI, rev.User, rev.IssuedBefore = "", "alice & bob", time.Unix(int64(i), 0)
		case 1:
			rev.Gateway = "chat"
		}
		if _, err := r.set.Revocations.Add(rev.Identify()); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]int{
		"": n, "user=" + url.QueryEscape("alice & bob"): n / 5, "gateway=chat": n / 5, "jti=17": 1, "user=nobody": 0,
		"jti=16&gateway=chat": 1, "jti=17&gateway=chat": 0, "jti=17&user=alice": 0,
	} {
		for _, limit := range []int{0, 999, 10_000} {
			var ids []string
			page, size := "?"+query, defaultLimit
			if limit > 0 {
				page, size = page+fmt.Sprint("&limit=", limit), limit
			}
			for after := ""; ; {
				got := r.listed(t, page+after)
				for _, one := range got {
					ids = append(ids, one.ID)
				}
				if len(got) < size {
					break
				}
				after = "&after=" + got[size-1].ID
			}
			if len(ids) != want || !slices.IsSorted(ids) || len(slices.Compact(ids)) != want {
				t.Errorf("%q by %d: %d are listed, want %d", query, limit, len(ids), want)
			}
		}
	}
}

func TestFullListOfRevocationsIs507(t *testing.T) {
	t.Parallel()
	r := newRevoker(t)
	for i := range revocation.Most {
		r.set.Revocations.Learn(revocation.Revocation{JTI: fmt.Sprint(i), Until: time.Now().Add(time.Hour)}.Identify())
	}
	status, answer, _ := r.do("POST", "", `{"jti":"one more"}`)
	if status != 507 || !strings.Contains(answer, "as many revocations as there may be") {
		t.Errorf("one more: %d %s", status, answer)
	}
	if keys := r.stored(t); len(keys) != 0 {
		t.Errorf("stored are %q", keys)
	}
	id := r.revoke(t, `{"jti":"17","for":"2h"}`).ID // is there already
	if status, answer, _ := r.do("DELETE", "/"+id, ""); status != 204 {
		t.Errorf("deleting: %d %s", status, answer)
	}
	r.revoke(t, `{"jti":"one more"}`)
	if status, _, _ := r.do("POST", "", `{"jti":"two more"}`); status != 507 {
		t.Errorf("two more: %d", status)
	}
}
