package wsgateway

import (
	"bytes"
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
)

// Auth says where a credential may be found in a request and which
// credentials are good. At least one kind of credential must be configured. A
// credential is removed before the request goes to an upstream, unless `forward`
// is set.
type Auth struct {
	// The places where a token may be, in order: the first that is present in a
	// request decides, and all of them are stripped from it, also in spellings
	// that only an upstream would read.
	// Default: the Authorization header with the Bearer scheme.
	Token []TokenCarrier `json:"token,omitempty"`

	// Static tokens that are accepted (RFC 6750).
	Bearer []BearerToken `json:"bearer,omitempty"`

	// Signed tokens that are accepted (RFC 7519).
	JWT *JWT `json:"jwt,omitempty"`

	// A service that knows which tokens are good (RFC 7662). It is asked about
	// the tokens that are neither static tokens nor accepted JWTs.
	Introspect *Introspection `json:"introspect,omitempty"`

	// Authentication providers of other modules, asked in the order of their
	// names where no token of the settings above lets the request in. The
	// Authorization header does not reach an upstream then, whatever it is for.
	ProvidersRaw caddy.ModuleMap `json:"providers,omitempty" caddy:"namespace=http.authentication.providers"`

	// Whether a user that a handler in front has found, such as Caddy's
	// `basic_auth`, may come in where the request has no token in the places
	// above. The Authorization header does not reach an upstream then. Default:
	// false.
	Inherit bool `json:"inherit,omitempty"`

	// A path on which a client may renew its live connection: by a POST with
	// the ID of the connection, from the header `Ws-Gateway-Connection` of the
	// handshake's answer, as the parameter `connection`, and with a new token of
	// the same user that leads to the connection's upstream through this
	// handler. The connection then ends with the new token; a token that does not
	// expire cannot take the place of a token that does. The answer is 204; or it
	// is 401, 403 or 404, and nothing changes. Default: none.
	Renew string `json:"renew,omitempty"`

	// Whether a request without a credential may pass. A request with a bad
	// credential is refused all the same. Default: false.
	Optional bool `json:"optional,omitempty"`

	// Whether the credential that let a request in is sent to the upstream, in
	// the place where it came, for upstreams that check the credential again.
	// All other credentials are removed all the same. Default: false.
	Forward bool `json:"forward,omitempty"`

	// Whether CORS preflights go to the upstream without a credential: the
	// requests by which browsers ask before they let a page of another origin
	// make a request (OPTIONS with Origin and Access-Control-Request-Method),
	// which never have a credential. `origins` applies to preflights too.
	// Default: false, preflights are refused.
	CORSPreflight bool `json:"cors_preflight,omitempty"`
}

// acceptsAnyone reports whether any credential could be good.
func (a *Auth) acceptsAnyone() bool {
	return a.verifiesTokens() || len(a.ProvidersRaw) > 0 || a.Inherit
}

// verifiesTokens reports whether the gateway verifies tokens itself.
func (a *Auth) verifiesTokens() bool {
	return len(a.Bearer) > 0 || a.JWT != nil || a.Introspect != nil
}

// TokenCarrier is one place in a request where a token may be.
type TokenCarrier struct {
	// Where to look: `header`, `cookie`, `query` or `subprotocol`.
	From string `json:"from"`

	// The name of the header field, cookie or query parameter; for
	// `subprotocol` the marker, so that a browser's
	// `new WebSocket(url, ["bearer", token])` is understood. An entry of the
	// form `<marker>.<token>` is understood as well, the marker in any case.
	// Default: `Authorization` for a header, `bearer` for a subprotocol; a
	// cookie and a query parameter must be named.
	Name string `json:"name,omitempty"`

	// The authentication scheme in front of the token in a header, compared
	// without regard to case. Default: `Bearer` in the Authorization header,
	// none in any other.
	Scheme string `json:"scheme,omitempty"`

	// Whether the token in a subprotocol is encoded in base64url without padding
	// (RFC 4648, section 5), so that it may have any characters. The token may
	// then follow the marker without a further dot, as in Kubernetes'
	// `base64url.bearer.authorization.k8s.io.<token>`, whose marker ends with a
	// dot. Default: false.
	Base64URL bool `json:"base64url,omitempty"`
}

// BearerToken is a static token.
type BearerToken struct {
	// The token, which should have at least 16 bytes; or a placeholder for it,
	// such as `{env.WS_TOKEN}` or `{file./run/secrets/ws_token}`, resolved when
	// the configuration is loaded, and again when the file changes; or `sha256:`
	// and the SHA-256 of the token in hexadecimal. A token written in a Caddyfile
	// is adapted to its hash, so that it does not show in the running
	// configuration.
	Token string `json:"token"`

	// The ID of the user that the token stands for: `{http.auth.user.id}`, and
	// `user_id` in logs. Default: none.
	UserID string `json:"user_id,omitempty"`

	// Whether the token has fewer than 16 bytes, so that it can be guessed; every
	// load of the configuration warns of such a token. Needed only beside a hash,
	// which does not show the length; adapting a Caddyfile sets it. Default:
	// false.
	Short bool `json:"short,omitempty"`

	// Whether the token has characters that a subprotocol cannot have (RFC 6455,
	// section 4.1), such as `/`, `=` and blanks; every load of the configuration
	// warns of such a token where a carrier is a subprotocol without `base64url`.
	// Needed only beside a hash, as `short`. Default: false.
	Unofferable bool `json:"unofferable,omitempty"`
}

// JWT says which JSON Web Tokens are accepted. An algorithm counts only together
// with a key of its own type, and `none` never does. What a token says about
// where its key is to be found (`jku`, `x5u`, `jwk`, `x5c`) is ignored.
//
// These placeholders are set from a token:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The user claim.
// `{http.auth.user.<claim>}` | Every claim that is a string, a number or a boolean; those of nested objects with dots between the names.
type JWT struct {
	// The keys that tokens may be signed with. At least one key or key set is
	// needed.
	Keys []JWTKey `json:"keys,omitempty"`

	// Places of JSON Web Key Sets (RFC 7517), each an object or its `place`
	// alone: `https://` URLs, `http://` URLs on a loopback address or with
	// `allow_http`, or names of files. A set at a URL is fetched in the
	// background, again every ten minutes, and, at most once a minute, when a
	// token names a key that is not in the set. If a fetch fails, the keys of the
	// fetch before stay. A file is read again when it changes. A URL with a
	// password in it should be a placeholder such as `{env.JWKS_URL}`, because
	// the password shows in the running configuration otherwise.
	JWKS []KeySetPlace `json:"jwks,omitempty"`

	// The certificate authorities to trust when a key set is fetched.
	// Default: the authorities of the system.
	CARaw json.RawMessage `json:"ca,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// The algorithms that are accepted, of `HS256`, `HS384`, `HS512`, `RS256`,
	// `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `ES512`
	// (RFC 7518, section 3.1), `EdDSA` (RFC 8037) and `Ed25519` (RFC 9864).
	// Default: all that fit the keys.
	Algorithms []string `json:"algorithms,omitempty"`

	// The issuers of which one must be the `iss` of a token. Placeholders such as
	// `{env.ISSUER}`, here and in the settings below, are resolved when the
	// configuration is loaded. Default: not compared.
	Issuer []string `json:"issuer,omitempty"`

	// The audiences of which one must be in the `aud` of a token. Default: not
	// compared.
	Audience []string `json:"audience,omitempty"`

	// The claims that a token must hold, all of them. A token that is good
	// otherwise is answered 403. Default: none.
	Require []Requirement `json:"require,omitempty"`

	// The claim that is the ID of the user; dots lead into nested objects. A
	// token without the claim has no user ID; a token in which the claim is
	// neither a string nor a number is refused. Default: `sub`.
	UserClaim string `json:"user_claim,omitempty"`

	// By how much clocks may differ when `exp` and `nbf` are compared (RFC 7519,
	// sections 4.1.4 and 4.1.5); no token is refused for its `iat`. A live
	// connection ends that long after its token expires. Default: 30s.
	Leeway *caddy.Duration `json:"leeway,omitempty"`

	// Whether tokens without `exp` are accepted. Default: false.
	AllowNoExpiry bool `json:"allow_no_expiry,omitempty"`
}

// KeySetPlace is where a JSON Web Key Set is. In JSON, the place alone stands
// for it as well.
type KeySetPlace struct {
	// The URL, or the name of a file; or a placeholder for it, such as
	// `{env.JWKS_URL}`, resolved when the configuration is loaded.
	Place string `json:"place"`

	// Whether the set may come over http from any address, for issuers inside a
	// cluster. An attacker on the network path can then put keys into the set,
	// and so make tokens. Default: false.
	AllowHTTP bool `json:"allow_http,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (p KeySetPlace) MarshalJSON() ([]byte, error) {
	if !p.AllowHTTP {
		return json.Marshal(p.Place)
	}
	type object KeySetPlace
	return json.Marshal(object(p))
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *KeySetPlace) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte(`"`)) {
		*p = KeySetPlace{}
		return json.Unmarshal(text, &p.Place)
	}
	type object KeySetPlace
	return caddy.StrictUnmarshalJSON(text, (*object)(p))
}

// JWTKey is a key that tokens may be signed with. A token's `kid` is not
// compared with it, unless the key is a JWK that has one itself.
type JWTKey struct {
	// A public key or certificate in PEM; a JWK or a JWK set in JSON; or else a
	// secret, which should have at least 32 bytes (RFC 7518, section 3.2). With
	// `base64:` or `base64url:` in front, the key is decoded. It may be a
	// placeholder such as `{env.JWT_SECRET}`, `base64:{env.JWT_SECRET}` or
	// `{file./etc/jwt.pem}`, resolved when the configuration is loaded, and again
	// when the file changes; a secret should be a placeholder, because it shows
	// in the running configuration otherwise.
	Key string `json:"key"`

	// The algorithms that the key may be used with. Default: all that fit the
	// type of the key, or the one that a JWK names.
	Algorithms []string `json:"algorithms,omitempty"`
}

// Requirement is a claim and its permitted values.
type Requirement struct {
	// The name of the claim; dots lead into nested objects, as in
	// `realm_access.roles`. A claim whose own name has these dots comes first.
	Claim string `json:"claim"`

	// The values of which the claim must have one: as the claim itself, as an
	// element of a list, or as one of the words in `scope` or `scp` (RFC 8693,
	// section 4.2).
	Values []string `json:"values"`
}

// Introspection is a service that is asked about tokens (RFC 7662), by a POST with
// the form field `token`. Its answer is JSON with `active`, and perhaps `exp`, at
// which a live connection ends, `sub` or else `username`, the ID of the user, and
// `jti`. The other members of the answer are placeholders, as the claims of a JWT
// are. Where the service does not answer with status 200, the client is answered
// 503 with Retry-After.
//
// The service is asked about a token once at a time, however many requests bring
// the token, and about no more than 16 tokens at a time; further tokens wait for
// their turn. The answers about the last 10,000 good tokens are remembered, and
// apart from these the answers about the last 10,000 bad tokens.
type Introspection struct {
	// The URL, which begins with `https://`, or with `http://` for a loopback
	// address or with `allow_http`. A user and password in the URL are sent by
	// Basic authentication. Placeholders such as `{env.INTROSPECT_URL}` are
	// resolved when the configuration is loaded; a password should be a
	// placeholder, because it shows in the running configuration otherwise.
	URL string `json:"url"`

	// Whether the tokens may go over http to any address, for services inside a
	// cluster. An attacker on the network path can then read tokens, and say
	// which are good. Default: false.
	AllowHTTP bool `json:"allow_http,omitempty"`

	// For how long an answer may be used again, but never past its `exp`. 0 asks
	// anew every time. Default: 10s.
	Cache *caddy.Duration `json:"cache,omitempty"`

	// How long the service may take to answer, and how long a token may wait for
	// its turn before that; then the client is answered 503 with Retry-After.
	// Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// The certificate authorities to trust. Default: the authorities of the
	// system.
	CARaw json.RawMessage `json:"ca,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`
}
