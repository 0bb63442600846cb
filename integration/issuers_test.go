package integration

import (
	"context"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var b64 = base64.RawURLEncoding.EncodeToString

func soonClaims() string {
	return fmt.Sprintf(`{"sub":"alice","exp":%d}`, time.Now().Add(time.Hour).Unix())
}

// assertToken opens a WebSocket with the token, and fails to with one that
// differs in a single character of each of its parts.
func assertToken(t *testing.T, g *gateway, token string) {
	t.Helper()
	conn := overWS.open(t, g, "/ws", bearer(token))
	conn.ping(t, "hello")
	conn.finish(t)
	start := 0
	for part := range strings.SplitSeq(token, ".") {
		i := start + len(part)/2
		other := "A"
		if token[i] == 'A' {
			other = "B"
		}
		overWS.refused(t, g, "/ws", bearer(token[:i]+other+token[i+1:]), 401)
		start += len(part) + 1
	}
}

// TestTokensOfNPMJose verifies tokens that the npm package jose has signed.
func TestTokensOfNPMJose(t *testing.T) {
	node := needNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, "clients/issuer.mjs", soonClaims()).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var issued struct {
		Tokens  map[string]string
		Secrets map[string]json.RawMessage
		JWKS    json.RawMessage
	}
	if err := json.Unmarshal(out, &issued); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(issued.JWKS) }))
	t.Cleanup(keys.Close)
	words := "jwks " + keys.URL + "\n"
	for _, secret := range issued.Secrets {
		words += "key `" + string(secret) + "`\n"
	}
	g := start(t, "ws_gateway "+newBackend(t, echo).addr+" {\n auth {\n jwt {\n "+words+" }\n }\n }")
	if len(issued.Tokens) != 14 {
		t.Errorf("%d tokens were issued, want 14", len(issued.Tokens))
	}
	for algorithm, token := range issued.Tokens {
		t.Run(algorithm, func(t *testing.T) { assertToken(t, g, token) })
	}
}

// TestTokensOfOpenSSL verifies tokens that the openssl command has signed, with
// the public keys that it writes.
func TestTokensOfOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	need(t, err != nil, "openssl is not installed")
	pss := []string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"}
	for _, row := range []struct {
		algorithm string
		generate  []string // arguments of genpkey
		sign      []string // arguments in front of the key
	}{
		{"RS256", []string{"-algorithm", "RSA"}, []string{"dgst", "-sha256"}},
		{"RS384", []string{"-algorithm", "RSA"}, []string{"dgst", "-sha384"}},
		{"RS512", []string{"-algorithm", "RSA"}, []string{"dgst", "-sha512"}},
		{"PS256", []string{"-algorithm", "RSA"}, append([]string{"dgst", "-sha256"}, pss...)},
		{"PS384", []string{"-algorithm", "RSA"}, append([]string{"dgst", "-sha384"}, pss...)},
		{"PS512", []string{"-algorithm", "RSA"}, append([]string{"dgst", "-sha512"}, pss...)},
		{"ES256", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, []string{"dgst", "-sha256"}},
		{"ES384", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, []string{"dgst", "-sha384"}},
		{"ES512", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"}, []string{"dgst", "-sha512"}},
		{"EdDSA", []string{"-algorithm", "ED25519"}, nil},
	} {
		t.Run(row.algorithm, func(t *testing.T) {
			dir := t.TempDir()
			run := func(args ...string) []byte {
				t.Helper()
				out, err := exec.CommandContext(t.Context(), openssl, args...).Output()
				if err != nil {
					t.Fatalf("openssl %v: %v", args, err)
				}
				return out
			}
			private, public := filepath.Join(dir, "private.pem"), filepath.Join(dir, "public.pem")
			run(append([]string{"genpkey", "-out", private}, row.generate...)...)
			run("pkey", "-in", private, "-pubout", "-out", public)

			signed := b64([]byte(`{"alg":"`+row.algorithm+`"}`)) + "." + b64([]byte(soonClaims()))
			input := filepath.Join(dir, "input")
			if err := os.WriteFile(input, []byte(signed), 0o600); err != nil {
				t.Fatal(err)
			}
			var signature []byte
			if row.sign == nil {
				signature = run("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", input)
			} else {
				signature = run(append(row.sign, "-sign", private, input)...)
			}
			if strings.HasPrefix(row.algorithm, "ES") {
				signature = fixedSize(t, signature, map[string]int{"ES256": 32, "ES384": 48, "ES512": 66}[row.algorithm])
			}
			g := start(t, "ws_gateway "+newBackend(t, echo).addr+" {\n auth {\n jwt {\n key {file."+public+"} "+row.algorithm+"\n }\n }\n }")
			assertToken(t, g, signed+"."+b64(signature))
		})
	}
}

// fixedSize turns a signature in DER into the form of RFC 7518, section 3.4.
func fixedSize(t *testing.T, der []byte, size int) []byte {
	t.Helper()
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		t.Fatal(err)
	}
	return append(pair.R.FillBytes(make([]byte, size)), pair.S.FillBytes(make([]byte, size))...)
}
