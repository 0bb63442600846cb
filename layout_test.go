package wsgateway

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A file may use what is declared in its own layer and in those below it.
type layer int

const (
	data     layer = iota // what a configuration may say
	leaf                  // knows a request or a number, and no connection
	work                  // knows connections and upstreams
	pipeline              // knows the handler
	entry                 // knows the configuration: life cycle, Caddyfile, modules
)

// The packages outside the standard library, by the names the table uses.
var packages = map[string]string{
	"caddy":         "github.com/caddyserver/caddy/v2",
	"caddyconfig":   "github.com/caddyserver/caddy/v2/caddyconfig",
	"caddyfile":     "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile",
	"httpcaddyfile": "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile",
	"caddyauth":     "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth",
	"caddytls":      "github.com/caddyserver/caddy/v2/modules/caddytls",
	"jose":          "github.com/go-jose/go-jose/v4",
	"jwt":           "github.com/golang-jwt/jwt/v5",
	"caddyhttp":     "github.com/caddyserver/caddy/v2/modules/caddyhttp",
	"headers":       "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers",
	"reverseproxy":  "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy",
	"websocket":     "github.com/coder/websocket",
	"prometheus":    "github.com/prometheus/client_golang/prometheus",
	"zap":           "go.uber.org/zap",
	"zapcore":       "go.uber.org/zap/zapcore",
	"quic":          "github.com/quic-go/quic-go",
	"http3":         "github.com/quic-go/quic-go/http3",
	"http2":         "golang.org/x/net/http2",
	"hpack":         "golang.org/x/net/http2/hpack",
	"httpguts":      "golang.org/x/net/http/httpguts",
	"balance":       "github.com/wsgateway/caddy-ws-gateway/internal/balance",
	"relay":         "github.com/wsgateway/caddy-ws-gateway/internal/relay",
	"strictjson":    "github.com/wsgateway/caddy-ws-gateway/internal/strictjson",
	"tcpdial":       "github.com/wsgateway/caddy-ws-gateway/internal/tcpdial",
	"wsframe":       "github.com/wsgateway/caddy-ws-gateway/internal/wsframe",
	"panics":        "github.com/wsgateway/caddy-ws-gateway/internal/panics",
	"live":          "github.com/wsgateway/caddy-ws-gateway/internal/live",
	"carrier":       "github.com/wsgateway/caddy-ws-gateway/internal/carrier",
	"token":         "github.com/wsgateway/caddy-ws-gateway/internal/token",
	"caddyinsides":  "github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides",
	"serverlog":     "github.com/wsgateway/caddy-ws-gateway/internal/serverlog",
	"upgrade":       "github.com/wsgateway/caddy-ws-gateway/internal/upgrade",
	"dial":          "github.com/wsgateway/caddy-ws-gateway/internal/dial",
	"handshake":     "github.com/wsgateway/caddy-ws-gateway/internal/handshake",
	"origin":        "github.com/wsgateway/caddy-ws-gateway/internal/origin",
}

// layout places every file of the package: its layer, the packages it may
// import, and the declarations of higher layers that it may name all the same.
var layout = map[string]struct {
	layer   layer
	imports string
	also    string
}{
	"config.go":            {data, "caddy reverseproxy", "running"},
	"config_auth.go":       {data, "caddy", ""},
	"request.go":           {leaf, "caddy caddyhttp token", "identity"},
	"dynamic.go":           {pipeline, "caddy caddyhttp reverseproxy zap dial", ""},
	"refusal.go":           {leaf, "handshake", ""},
	"releases.go":          {leaf, "", ""},
	"auth.go":              {leaf, "carrier token", "Auth BearerToken TokenCarrier"},
	"auth_providers.go":    {leaf, "caddyauth caddyhttp zap token", ""},
	"secrets.go":           {leaf, "caddy token", ""},
	"forward.go":           {leaf, "headers carrier", ""},
	"preflight.go":         {leaf, "httpguts carrier", ""},
	"headers.go":           {leaf, "caddyhttp headers handshake origin", ""},
	"panics.go":            {leaf, "caddy prometheus zap panics", "moduleID"},
	"matcher.go":           {leaf, "caddy caddyfile caddyhttp handshake", ""},
	"balance.go":           {work, "reverseproxy balance live dial", "Handler"},
	"logs.go":              {work, "zap zapcore relay panics live", ""},
	"metrics.go":           {work, "prometheus live", ""},
	"wsrelay.go":           {work, "headers handshake", "Handler"},
	"handler.go":           {pipeline, "caddyhttp http3 relay live carrier token upgrade handshake", "Handler"},
	"renew.go":             {pipeline, "live token handshake", "Handler"},
	"connect.go":           {pipeline, "caddy caddyhttp headers reverseproxy balance carrier dial handshake", "Handler"},
	"proxy.go":             {pipeline, "caddy caddyconfig caddyhttp headers reverseproxy balance carrier dial", "Handler"},
	"placeholders.go":      {pipeline, "caddy reverseproxy", ""},
	"queue.go":             {pipeline, "reverseproxy balance", "Handler"},
	"module.go":            {entry, "caddy caddyhttp headers reverseproxy prometheus zap live upgrade dial origin", ""},
	"admin.go":             {entry, "caddy balance live", ""},
	"admin_connections.go": {entry, "caddy live dial", ""},
	"ws_token.go":          {entry, "caddy caddyconfig caddyfile httpcaddyfile caddyauth caddyhttp token handshake", ""},
	"auth_provision.go":    {entry, "caddy caddytls caddyhttp panics carrier token serverlog", ""},
	"caddyfile_jwt.go":     {entry, "caddy caddyconfig caddyfile token", ""},
	"caddyfile_words.go":   {leaf, "caddy caddyfile", ""},
	"caddyfile.go":         {entry, "caddyfile httpcaddyfile caddyhttp reverseproxy origin", ""},
	"caddyfile_auth.go":    {entry, "caddy caddyconfig caddyfile token", ""},
	"exit.go":              {entry, "caddy caddyhttp live", ""},
	"probes.go":            {work, "caddy caddyhttp reverseproxy zap balance wsframe dial handshake", "Handler WebSocketHealth contained"},
	"policies.go":          {work, "caddy caddyfile reverseproxy balance dial", "process"},
	"rebalance.go":         {pipeline, "caddy zap balance", "Handler Rebalance"},
	"caddyfile_balance.go": {entry, "caddy caddyfile", ""},
	"caddyfile_hints.go":   {entry, "caddyfile", ""},
	"echo.go":              {entry, "caddy httpcaddyfile caddyhttp websocket handshake", ""},
}

// internalLayout says which packages outside the standard library those under
// internal may import. Few may import Caddy, and none the handler.
var internalLayout = map[string]string{
	"relay":      "panics wsframe",
	"panics":     "",
	"strictjson": "",
	"tcpdial":    "panics",
	"wsframe":    "",
	"smoke":      "websocket",
	"storm":      "quic http3 http2 hpack",
	"balance":    "",
	"bubble":     "",
	"carrier":    "httpguts handshake",
	"token":      "httpguts jose jwt panics strictjson zap",
	"live":       "zap relay balance panics",
	"handshake":  "httpguts relay tcpdial",
	"origin":     "",

	// These know Caddy, because what they have to do with is Caddy's: parts that it
	// does not export, the client's side of a request and the log of one as its
	// server has them, and connections to upstreams as its transport has them.
	"caddyinsides": "caddyhttp reverseproxy zap",
	"dial":         "caddy caddyhttp reverseproxy caddyinsides handshake panics relay tcpdial",
	"serverlog":    "caddyhttp zap zapcore caddyinsides",
	"upgrade":      "caddy caddyhttp quic http3 caddyinsides panics relay",
}

func TestFilesImportOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	_, files := parseDir(t, ".")
	for name, file := range files {
		place, ok := layout[name]
		if !ok {
			t.Errorf("%s has no place: give it one in the table", name)
			continue
		}
		checkImports(t, name, file, place.imports)
	}
	for name := range layout {
		if files[name] == nil {
			t.Errorf("%s is in the table and does not exist", name)
		}
	}
}

func TestInternalPackagesImportOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range entries {
		allowed, ok := internalLayout[dir.Name()]
		if !ok {
			t.Errorf("internal/%s has no place: give it one in the table", dir.Name())
			continue
		}
		_, files := parseDir(t, filepath.Join("internal", dir.Name()))
		for name, file := range files {
			checkImports(t, path.Join("internal", dir.Name(), name), file, allowed)
		}
	}
}

func TestFilesUseOnlyTheirOwnLayerAndThoseBelow(t *testing.T) {
	t.Parallel()
	fset, files := parseDir(t, ".")
	list := make([]*ast.File, 0, len(files))
	for _, file := range files {
		list = append(list, file)
	}
	// The imports are empty stand-ins, so most of the package does not type
	// check; names of its own are resolved nevertheless, local ones excluded.
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: standIns{}, Error: func(error) {}}
	pkg, _ := config.Check("wsgateway", fset, list, info)

	checked := 0
	for ident, object := range info.Uses {
		if object.Parent() != pkg.Scope() {
			continue
		}
		checked++
		user := filepath.Base(fset.Position(ident.Pos()).Filename)
		owner := filepath.Base(fset.Position(object.Pos()).Filename)
		if layout[owner].layer > layout[user].layer && !slices.Contains(strings.Fields(layout[user].also), object.Name()) {
			t.Errorf("%s: %s may not use %s, which is declared above it in %s",
				fset.Position(ident.Pos()), user, object.Name(), owner)
		}
	}
	if checked == 0 {
		t.Error("found no use of anything")
	}
}

// standIns imports an empty package for every path.
type standIns struct{}

func (standIns) Import(importPath string) (*types.Package, error) {
	pkg := types.NewPackage(importPath, path.Base(importPath))
	pkg.MarkComplete()
	return pkg, nil
}

// parseDir parses the Go files of a directory, except for tests.
func parseDir(t *testing.T, dir string) (*token.FileSet, map[string]*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	files := make(map[string]*ast.File)
	names, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
	}
	if len(files) == 0 {
		t.Errorf("found no Go files in %s", dir)
	}
	return fset, files
}

// checkImports fails the test where a file imports what is neither allowed nor
// in the standard library.
func checkImports(t *testing.T, name string, file *ast.File, allowed string) {
	t.Helper()
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if domain, _, _ := strings.Cut(imported, "/"); !strings.Contains(domain, ".") {
			continue // the standard library
		}
		mayImport := func(label string) bool { return packages[label] == imported }
		if !slices.ContainsFunc(strings.Fields(allowed), mayImport) {
			t.Errorf("%s may not import %s", name, imported)
		}
	}
}
