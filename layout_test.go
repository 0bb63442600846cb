package wsgateway

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
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
	data     layer = iota // what a configuration may say, and what holds where it says nothing
	leaf                  // knows a request, a word or a line of a log, and no upstream
	part                  // a piece of a gateway that knows no gateway: it is given values
	gateway               // a gateway: its configuration, and what that was compiled to
	pipeline              // what a gateway does with a request, and beside requests
	entry                 // how Caddy gets at it: life cycle, Caddyfile, admin API, modules
)

// The packages outside the standard library, by the names the tables use.
var packages = map[string]string{
	"caddy":            "github.com/caddyserver/caddy/v2",
	"caddycmd":         "github.com/caddyserver/caddy/v2/cmd",
	"caddyconfig":      "github.com/caddyserver/caddy/v2/caddyconfig",
	"caddyfile":        "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile",
	"httpcaddyfile":    "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile",
	"humanize":         "github.com/dustin/go-humanize",
	"caddyauth":        "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth",
	"caddyevents":      "github.com/caddyserver/caddy/v2/modules/caddyevents",
	"caddytls":         "github.com/caddyserver/caddy/v2/modules/caddytls",
	"jose":             "github.com/go-jose/go-jose/v4",
	"jwt":              "github.com/golang-jwt/jwt/v5",
	"caddyhttp":        "github.com/caddyserver/caddy/v2/modules/caddyhttp",
	"headers":          "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers",
	"reverseproxy":     "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy",
	"websocket":        "github.com/coder/websocket",
	"prometheus":       "github.com/prometheus/client_golang/prometheus",
	"cobra":            "github.com/spf13/cobra",
	"zap":              "go.uber.org/zap",
	"zapcore":          "go.uber.org/zap/zapcore",
	"quic":             "github.com/quic-go/quic-go",
	"http3":            "github.com/quic-go/quic-go/http3",
	"http2":            "golang.org/x/net/http2",
	"hpack":            "golang.org/x/net/http2/hpack",
	"term":             "golang.org/x/term",
	"httpguts":         "golang.org/x/net/http/httpguts",
	"balance":          "github.com/wsgateway/caddy-ws-gateway/internal/balance",
	"relay":            "github.com/wsgateway/caddy-ws-gateway/internal/relay",
	"strictjson":       "github.com/wsgateway/caddy-ws-gateway/internal/strictjson",
	"tcpdial":          "github.com/wsgateway/caddy-ws-gateway/internal/tcpdial",
	"wsframe":          "github.com/wsgateway/caddy-ws-gateway/internal/wsframe",
	"lull":             "github.com/wsgateway/caddy-ws-gateway/internal/lull",
	"panics":           "github.com/wsgateway/caddy-ws-gateway/internal/panics",
	"pace":             "github.com/wsgateway/caddy-ws-gateway/internal/pace",
	"live":             "github.com/wsgateway/caddy-ws-gateway/internal/live",
	"carrier":          "github.com/wsgateway/caddy-ws-gateway/internal/carrier",
	"stream":           "github.com/wsgateway/caddy-ws-gateway/internal/stream",
	"token":            "github.com/wsgateway/caddy-ws-gateway/internal/token",
	"caddyinsides":     "github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides",
	"serverlog":        "github.com/wsgateway/caddy-ws-gateway/internal/serverlog",
	"upgrade":          "github.com/wsgateway/caddy-ws-gateway/internal/upgrade",
	"command":          "github.com/wsgateway/caddy-ws-gateway/internal/command",
	"dial":             "github.com/wsgateway/caddy-ws-gateway/internal/dial",
	"handshake":        "github.com/wsgateway/caddy-ws-gateway/internal/handshake",
	"origin":           "github.com/wsgateway/caddy-ws-gateway/internal/origin",
	"revocation":       "github.com/wsgateway/caddy-ws-gateway/internal/revocation",
	"admission":        "github.com/wsgateway/caddy-ws-gateway/internal/admission",
	"attribute":        "go.opentelemetry.io/otel/attribute",
	"codes":            "go.opentelemetry.io/otel/codes",
	"trace":            "go.opentelemetry.io/otel/trace",
	"terminal":         "github.com/wsgateway/caddy-ws-gateway/internal/terminal",
	"durable":          "github.com/wsgateway/caddy-ws-gateway/internal/durable",
	"assembly":         "github.com/wsgateway/caddy-ws-gateway/internal/assembly",
	"messages":         "github.com/wsgateway/caddy-ws-gateway/messages",
	"messages/convert": "github.com/wsgateway/caddy-ws-gateway/messages/convert",
	"messages/filter":  "github.com/wsgateway/caddy-ws-gateway/messages/filter",
	"messages/json":    "github.com/wsgateway/caddy-ws-gateway/messages/json",
	"messages/log":     "github.com/wsgateway/caddy-ws-gateway/messages/log",
	"messages/replace": "github.com/wsgateway/caddy-ws-gateway/messages/replace",
	"messages/respond": "github.com/wsgateway/caddy-ws-gateway/messages/respond",
	"messages/schema":  "github.com/wsgateway/caddy-ws-gateway/messages/schema",
	"fleet":            "github.com/wsgateway/caddy-ws-gateway/fleet",
	"s2":               "github.com/klauspost/compress/s2",
	"fleet/redis":      "github.com/wsgateway/caddy-ws-gateway/fleet/redis",
	"bulletin":         "github.com/wsgateway/caddy-ws-gateway/internal/bulletin",
	"membership":       "github.com/wsgateway/caddy-ws-gateway/internal/membership",
	"flate":            "github.com/klauspost/compress/flate",
}

// layout places every file of the package: its layer, and the packages it may
// import.
var layout = map[string]struct {
	layer   layer
	imports string
}{
	"config_auth.go":        {data, "caddy"},
	"config_limit.go":       {data, "caddy"},
	"config_sampling.go":    {data, "caddy"},
	"config_messages.go":    {data, "caddy"},
	"config_options.go":     {data, "caddy reverseproxy"},
	"request.go":            {leaf, "caddy caddyhttp httpguts carrier"},
	"headers.go":            {leaf, "caddyhttp headers handshake origin"},
	"refusal.go":            {leaf, "handshake token"},
	"placeholders.go":       {leaf, "caddy reverseproxy"},
	"counts.go":             {leaf, "prometheus live relay"},
	"logs.go":               {leaf, "caddy zap zapcore live panics relay"},
	"sampling.go":           {leaf, "zap zapcore"},
	"tracing.go":            {leaf, "attribute codes trace"},
	"process.go":            {leaf, "caddy live"},
	"tickets.go":            {part, "caddy caddyevents caddyhttp caddytls zap"},
	"records.go":            {leaf, "caddy balance durable live revocation"},
	"records_later.go":      {leaf, ""},
	"fleet.go":              {part, "caddy zap fleet bulletin live membership"},
	"fleet_log.go":          {leaf, "zap zapcore"},
	"metrics_fleet.go":      {part, "prometheus"},
	"admin_fleet.go":        {entry, "caddy bulletin"},
	"admin_survey.go":       {entry, "live"},
	"upstream_states.go":    {leaf, "balance durable live"},
	"secrets.go":            {leaf, "caddy token"},
	"caddyfile_words.go":    {leaf, "caddy caddyfile"},
	"matcher.go":            {leaf, "caddy caddyfile caddyhttp handshake live"},
	"limits.go":             {part, "admission live relay"},
	"messages.go":           {part, "caddy zap assembly live messages panics"},
	"metrics.go":            {part, "prometheus live"},
	"auth.go":               {part, "carrier live revocation token"},
	"auth_providers.go":     {part, "caddyhttp caddyauth zap token"},
	"auth_provision.go":     {part, "caddy caddyhttp caddytls carrier panics serverlog token"},
	"policies.go":           {part, "caddy caddyfile reverseproxy balance dial"},
	"probes.go":             {part, "caddy caddyhttp reverseproxy zap balance dial handshake wsframe"},
	"balance.go":            {part, "reverseproxy balance dial"},
	"stream_types.go":       {leaf, "handshake live"},
	"stream.go":             {pipeline, "caddyhttp reverseproxy admission balance handshake live stream upgrade"},
	"transport.go":          {part, "headers reverseproxy balance carrier"},
	"wsrelay.go":            {part, "headers handshake"},
	"running.go":            {gateway, "headers reverseproxy zap admission dial live origin relay"},
	"config.go":             {gateway, "caddy reverseproxy"},
	"members.go":            {pipeline, "caddy caddyhttp reverseproxy zap balance dial live"},
	"queue.go":              {pipeline, "caddyhttp reverseproxy balance"},
	"connect.go":            {pipeline, "caddy caddyhttp headers reverseproxy admission assembly balance carrier dial handshake"},
	"assemble.go":           {pipeline, "assembly handshake messages relay"},
	"admit.go":              {pipeline, "carrier handshake token"},
	"seats.go":              {pipeline, "admission live membership"},
	"answer.go":             {pipeline, "caddyhttp zap handshake live"},
	"renew.go":              {pipeline, "handshake live token"},
	"rebalance.go":          {pipeline, "zap balance"},
	"proxy.go":              {pipeline, "caddy caddyconfig reverseproxy balance dial"},
	"handler.go":            {pipeline, "caddyhttp carrier handshake live relay upgrade lull"},
	"connection.go":         {pipeline, "http3 admission balance live"},
	"module.go":             {entry, "caddy caddyhttp admission command dial fleet/redis live origin upgrade messages/convert messages/filter messages/json messages/log messages/replace messages/respond messages/schema"},
	"caddyfile.go":          {entry, "caddyfile httpcaddyfile caddyhttp reverseproxy origin"},
	"caddyfile_auth.go":     {entry, "caddy caddyconfig caddyfile token"},
	"caddyfile_jwt.go":      {entry, "caddy caddyconfig caddyfile token"},
	"caddyfile_balance.go":  {entry, "caddy caddyfile"},
	"caddyfile_limit.go":    {entry, "caddy caddyfile humanize"},
	"caddyfile_logs.go":     {entry, "caddyfile"},
	"caddyfile_messages.go": {entry, "caddyconfig caddyfile"},
	"app.go":                {entry, "caddy fleet relay"},
	"caddyfile_app.go":      {entry, "caddy caddyconfig caddyfile httpcaddyfile humanize"},
	"admin.go":              {entry, "caddy balance live"},
	"admin_connections.go":  {entry, "caddy live"},
	"admin_endings.go":      {entry, "live"},
	"admin_filter.go":       {entry, "caddy dial live"},
	"admin_revocations.go":  {entry, "caddy live revocation"},
	"admin_revocation.go":   {entry, "caddy live revocation strictjson"},
	"admin_node.go":         {entry, "caddy balance live strictjson"},
	"admin_request.go":      {entry, "caddy dial strictjson"},
	"ws_token.go":           {entry, "caddy caddyconfig caddyfile httpcaddyfile caddyhttp caddyauth zap handshake token"},
	"echo.go":               {entry, "caddy httpcaddyfile caddyhttp websocket handshake"},
	"status.go":             {entry, "caddy caddyfile httpcaddyfile caddyhttp zap live"},
	"status_page.go":        {entry, ""},
	"status_answer.go":      {entry, "caddy"},
	"status_actions.go":     {entry, "caddy zap live origin strictjson"},
	"status_feeds.go":       {entry, ""},
	"status_snapshot.go":    {entry, "balance live"},
	"status_series.go":      {entry, "balance live"},
}

// internalLayout says which packages outside the standard library those under
// internal may import. Caddy is for those whose doc comment says why.
var internalLayout = map[string]string{
	"stream":       "pace panics relay wsframe",
	"assembly":     "flate handshake messages panics relay wsframe",
	"admission":    "",
	"balance":      "",
	"bubble":       "",
	"bulletin":     "zap durable fleet s2 panics",
	"caddyinsides": "caddyhttp reverseproxy zap",
	"carrier":      "httpguts handshake",
	"command":      "caddy caddycmd cobra humanize panics term terminal",
	"dial":         "caddy caddyhttp reverseproxy relay tcpdial panics caddyinsides handshake",
	"durable":      "zap panics",
	"enginetest":   "fleet",
	"handshake":    "httpguts relay tcpdial wsframe",
	"live":         "zap admission balance relay panics revocation wsframe",
	"membership":   "zap admission balance fleet panics",
	"origin":       "",
	"pace":         "wsframe",
	"lull":         "panics",
	"panics":       "",
	"redistest":    "",
	"relay":        "pace wsframe panics tcpdial",
	"revocation":   "",
	"serverlog":    "caddyhttp zap zapcore caddyinsides",
	"smoke":        "websocket",
	"storm":        "quic http3 http2 hpack",
	"strictjson":   "",
	"tcpdial":      "panics",
	"terminal":     "term panics",
	"token":        "jose jwt zap httpguts strictjson panics",
	"upgrade":      "caddy caddyhttp quic http3 relay panics caddyinsides",
	"wsframe":      "",
}

// TestFilesImportOnlyWhatTheyMay also fails on a file without a row, and on a
// row without a file.
func TestFilesImportOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	_, files := parseDir(t, ".")
	for name, file := range files {
		row, ok := layout[name]
		if !ok {
			t.Errorf("%s has no row: give it one in the table", name)
			continue
		}
		checkImports(t, name, file, row.imports)
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
			t.Errorf("internal/%s has no row: give it one in the table", dir.Name())
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
	uses := usesOf(t, ".")
	for _, use := range uses {
		if layout[use.owner].layer > layout[use.file].layer {
			t.Errorf("%s: %s may not use %s, which is declared above it in %s", use.position, use.file, use.name, use.owner)
		}
	}
	for _, circle := range circles(uses) {
		t.Errorf("files that can be understood only together, for each uses the next: %s", strings.Join(circle, " "))
	}
}

// use is a use of a declaration, a field or a method of another file.
type use struct{ file, owner, name, position string }

// usesOf lists the uses of a package. What is imported comes from the export data
// of the build, so that types are known in whole and no field or method is missed.
func usesOf(t *testing.T, dir string) []use {
	t.Helper()
	fset, files := parseDir(t, dir)
	list := make([]*ast.File, 0, len(files))
	for _, file := range files {
		list = append(list, file)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", exportData(t, dir))}
	pkg, err := config.Check("wsgateway", fset, list, info)
	if err != nil {
		t.Fatal(err)
	}
	var uses []use
	for ident, object := range info.Uses {
		file, owner := fset.Position(ident.Pos()), fset.Position(object.Pos())
		if object.Pkg() == pkg && file.Filename != owner.Filename && (object.Parent() == pkg.Scope() || isMember(object)) {
			uses = append(uses, use{filepath.Base(file.Filename), filepath.Base(owner.Filename), object.Name(), file.String()})
		}
	}
	if len(uses) == 0 {
		t.Error("found no use of anything")
	}
	return uses
}

// isMember reports whether an object is a field or a method.
func isMember(object types.Object) bool {
	switch object := object.(type) {
	case *types.Var:
		return object.IsField()
	case *types.Func:
		return object.Signature().Recv() != nil
	}
	return false
}

// exportData finds the export data of the packages that a package imports.
func exportData(t *testing.T, dir string) importer.Lookup {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", ".")
	list.Dir, list.Stderr = dir, t.Output()
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		exports[name] = file
	}
	return func(name string) (io.ReadCloser, error) {
		if exports[name] == "" {
			return nil, fmt.Errorf("no export data of %s", name)
		}
		return os.Open(exports[name])
	}
}

// circles finds the sets of files that use each other in a circle: the strongly
// connected components of the graph of uses, after Tarjan.
func circles(uses []use) [][]string {
	graph := make(map[string][]string)
	for _, u := range uses {
		if !slices.Contains(graph[u.file], u.owner) {
			graph[u.file] = append(graph[u.file], u.owner)
		}
	}
	var found [][]string
	var stack []string
	index, low := make(map[string]int), make(map[string]int)
	var visit func(string)
	visit = func(file string) {
		index[file] = len(index) + 1
		low[file] = index[file]
		stack = append(stack, file)
		for _, owner := range graph[file] {
			if index[owner] == 0 {
				visit(owner)
				low[file] = min(low[file], low[owner])
			} else if slices.Contains(stack, owner) {
				low[file] = min(low[file], index[owner])
			}
		}
		if low[file] == index[file] {
			at := slices.Index(stack, file)
			if circle := slices.Clone(stack[at:]); len(circle) > 1 {
				slices.Sort(circle)
				found = append(found, circle)
			}
			stack = stack[:at]
		}
	}
	for file := range graph {
		if index[file] == 0 {
			visit(file)
		}
	}
	return found
}

func TestCirclesAreFound(t *testing.T) {
	t.Parallel()
	found := circles([]use{{file: "a", owner: "b"}, {file: "b", owner: "c"}, {file: "c", owner: "a"}, {file: "c", owner: "d"}, {file: "e", owner: "a"}})
	if len(found) != 1 || !slices.Equal(found[0], []string{"a", "b", "c"}) {
		t.Errorf("found %v", found)
	}
}

// TestTheMapIsWhole compares the map in CONTRIBUTING.md with the tree: each file
// of this package and each folder stands in it once, and nothing else does.
func TestTheMapIsWhole(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Where things are\n")
	section, _, _ = strings.Cut(section, "\n## ")
	mapped := make(map[string]int)
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		names := strings.Split(strings.SplitN(line, "|", 3)[1], "`")
		for i := 1; i < len(names); i += 2 {
			found, err := filepath.Glob(names[i])
			if err != nil || len(found) == 0 {
				t.Errorf("the map has %s, and the tree has not", names[i])
			}
			for _, name := range found {
				if !strings.HasSuffix(name, "_test.go") {
					mapped[filepath.Clean(name)]++
				}
			}
		}
	}
	for _, name := range thingsToMap(t) {
		if mapped[name] != 1 {
			t.Errorf("%s stands in the map %d times, and should once", name, mapped[name])
		}
	}
}

// thingsToMap lists the files of this package, the packages under internal, and the
// other folders.
func thingsToMap(t *testing.T) []string {
	t.Helper()
	var things []string
	for _, dir := range []string{".", "internal"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			name := entry.Name()
			isCode := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
			if isCode || entry.IsDir() && !strings.HasPrefix(name, ".") && name != "internal" {
				things = append(things, filepath.Join(dir, name))
			}
		}
	}
	return things
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
