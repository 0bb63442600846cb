package command

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	revocationsAt = "/ws_gateway/revocations"
	revokedAnswer = `201 {"id":"r1","ended":3}`
	listedAnswer  = `200 [{"id":"r0","user":"alice","until":"2026-01-01T00:00:00Z"},{"id":"r1","user":"alice","until":"2026-06-03T12:00:00Z"}]`
)

func TestRevokeSendsWhatWasGiven(t *testing.T) {
	t.Parallel()
	rows := []struct{ args, body string }{
		{"--jti a", `{"jti":"a"}`},
		{"--user a", `{"user":"a"}`},
		{"--user list", `{"user":"list"}`},
		{"--user -x", `{"user":"-x"}`},
		{"--user a --issued-before now", `{"user":"a"}`},
		{"--user a --issued-before 2026-05-04T12:00:00+02:00", `{"issued_before":"2026-05-04T12:00:00+02:00","user":"a"}`},
		{"--jti a --gateway chat --until 2030-01-01T00:00:00Z", `{"gateway":"chat","jti":"a","until":"2030-01-01T00:00:00Z"}`},
		{"--jti a --for 7d --code 1008 --reason gone", `{"code":1008,"for":"7d","jti":"a","reason":"gone"}`},
		{"--jti a --reason=", `{"jti":"a","reason":""}`},
	}
	for _, row := range rows {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, revokedAnswer)
			runAt(t, endpoint, append([]string{"revoke", "--json"}, strings.Fields(row.args)...)...).expect(t, 0, revokedAnswer[4:]+"\n", "")
			if sent, want := endpoint.requests(), []string{"POST " + revocationsAt + " " + row.body}; !slices.Equal(sent, want) {
				t.Errorf("sent was %q and should be %q", sent, want)
			}
		})
	}
}

func TestRevokeSaysWhatCameOfIt(t *testing.T) {
	t.Parallel()
	const asked = "GET " + revocationsAt + "?limit=1000&user=alice"
	rows := []struct {
		name    string
		answers []string
		more    []string // sent after the revocation
		out     string
	}{
		{"with an end", []string{`201 {"id":"r1","ended":1,"until":"2026-06-03T12:00:00Z"}`}, nil, "revocation  r1\nended       1 connection\nuntil       2026-06-03T12:00:00Z\n"},
		{"without", []string{revokedAnswer, listedAnswer}, []string{asked}, "revocation  r1\nended       3 connections\nuntil       2026-06-03T12:00:00Z\n"},
		{"without, and it cannot be found", []string{revokedAnswer, "200 []"}, []string{asked}, "revocation  r1\nended       3 connections\nuntil       -\n"},
		{"without, and the list is refused", []string{revokedAnswer, "500"}, []string{asked}, "revocation  r1\nended       3 connections\nuntil       -\n"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answers...)
			runAt(t, endpoint, "revoke", "--user", "alice").expect(t, 0, row.out, "")
			if sent := endpoint.requests(); !slices.Equal(sent[1:], row.more) {
				t.Errorf("sent was %q", sent)
			}
		})
	}
	full := newFakeEndpoint(t, `507 {"error":"100000 revocations are in force"}`)
	runAt(t, full, "revoke", "--user", "alice").expect(t, exitRefused, "", "507 Insufficient Storage: 100000 revocations are in force")
}

func TestRevocationsAreListed(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, args, answer, sent, out string }{
		{"none", "", "200 []", "?limit=1000", ""},
		{"none, as null", "", "200 null", "?limit=1000", ""},
		{"none, as JSON", "--json", "200 []", "?limit=1000", "[]\n"},
		{"filtered", "--user a&b --gateway chat", `200 [{"id":"r1","user":"a&b","gateway":"chat","issued_before":"t0","created":"t1","until":"t2","code":3000,"reason":"it has left"}]`,
			"?gateway=chat&limit=1000&user=a%26b",
			"ID  USER  GATEWAY  ISSUED BEFORE  CREATED  UNTIL  CODE  REASON\nr1  a&b   chat     t0             t1       t2     3000  it has left\n"},
		{"by their tokens", "--jti j", `200 [{"id":"r1","jti":"j"},{"id":"r22","jti":"-","reason":"x"}]`, "?jti=j&limit=1000",
			"ID   JTI  REASON\nr1   j    -\nr22  \"-\"  x\n"},
		{"with strangers' texts", "", `200 [{"id":"r1","user":"\u001b]0;owned\u0007","reason":"\u202eeno"},{"id":"r2","user":"müller","reason":" "}]`, "?limit=1000",
			"ID  USER              REASON\nr1  \"\\x1b]0;owned\\a\"  \"\\u202eeno\"\nr2  müller            \" \"\n"},
		{"as JSON", "--json", "200 [ {\"id\":\"r1\", \"user\":\"\u009b31m<\",\"new\":1.50} , {\"id\":\"r2\"} ]", "?limit=1000",
			"[{\"id\":\"r1\", \"user\":\"\\u009b31m<\",\"new\":1.50},{\"id\":\"r2\"}]\n"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answer)
			says := ""
			if row.out == "" {
				says = "no revocations"
			}
			runAt(t, endpoint, append([]string{"revoke", "list"}, strings.Fields(row.args)...)...).expect(t, 0, row.out, says)
			if sent, want := endpoint.requests(), []string{"GET " + revocationsAt + row.sent}; !slices.Equal(sent, want) {
				t.Errorf("sent was %q and should be %q", sent, want)
			}
		})
	}
}

// pageAnswer is an answer with n revocations, the first of which has the number.
func pageAnswer(first, n int) string {
	elements := make([]string, 0, n)
	for i := range n {
		elements = append(elements, fmt.Sprintf(`{"id":"r%d"}`, first+i))
	}
	return "200 [" + strings.Join(elements, ",") + "]"
}

func TestPagesOfRevocationsAreFollowed(t *testing.T) {
	t.Parallel()
	for _, last := range []int{0, 1} {
		endpoint := newFakeEndpoint(t, pageAnswer(0, 1000), pageAnswer(1000, 1000), pageAnswer(2000, last))
		r := runAt(t, endpoint, "revoke", "list", "--json")
		r.expect(t, 0, r.out, "")
		var all []struct{ ID string }
		if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) != 2000+last || all[1999].ID != "r1999" {
			t.Errorf("printed were %d, %v", len(all), err)
		}
		want := []string{"?limit=1000", "?after=r999&limit=1000", "?after=r1999&limit=1000"}
		for i, sent := range endpoint.requests() {
			if sent != "GET "+revocationsAt+want[i] {
				t.Errorf("request %d was %q", i, sent)
			}
		}
	}
	r := runAt(t, newFakeEndpoint(t, pageAnswer(0, 1000)), "revoke", "list")
	r.expect(t, exitRefused, "", `repeats the page of /ws_gateway/revocations after "r999"`)
	r = runAt(t, newFakeEndpoint(t, pageAnswer(0, 1000), `503 {"error":"later"}`), "revoke", "list")
	r.expect(t, exitRefused, "", "later")
}

func TestRevocationsAreDeleted(t *testing.T) {
	t.Parallel()
	const gone = `404 {"error":"there is no revocation"}`
	rows := []struct {
		args    string
		answers []string
		status  int
		out     string
		says    []string
	}{
		{"a", []string{"204"}, 0, "deleted a\n", nil},
		{"a b/c?d", []string{"204"}, 0, "deleted a\ndeleted b/c?d\n", nil},
		{"a --json", []string{"204"}, 0, "", nil},
		{"a", []string{gone}, exitRefused, "", []string{`revocation "a": the admin endpoint`}},
		{"a b c", []string{gone, "204", gone}, exitRefused, "deleted b\n", []string{`revocation "a": `, `revocation "c": `}},
		{"a b c", []string{gone, "", ""}, exitUnreachable, "", []string{`revocation "a": `, "cannot reach"}},
	}
	for _, row := range rows {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answers...)
			r := runAt(t, endpoint, append([]string{"revoke", "delete"}, strings.Fields(row.args)...)...)
			if r.status != row.status || r.out != row.out || strings.Count(r.errors, "\n") != len(row.says) {
				t.Errorf("came to %+v", r)
			}
			for _, says := range row.says {
				if !strings.Contains(r.errors, says) {
					t.Errorf("%q is missing in %q", says, r.errors)
				}
			}
			if sent := endpoint.requests(); sent[0] != "DELETE "+revocationsAt+"/a" || len(sent) > 1 && strings.Contains(row.args, "?") && sent[1] != "DELETE "+revocationsAt+"/b%2Fc%3Fd" {
				t.Errorf("sent was %q", sent)
			}
		})
	}
}
