package wsgateway

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed status/index.html status/status.css status/status.js
var statusFiles embed.FS

// statusTypes are the types of the files beside the page.
var statusTypes = map[string]string{
	"status.css": "text/css; charset=utf-8",
	"status.js":  "text/javascript; charset=utf-8",
}

// statusPage is the page with its assets, which it names by their content: an asset may
// be kept for ever.
type statusPage struct {
	html   statusFile
	assets map[string]statusFile
}

type statusFile struct {
	kind, version string
	data          []byte
}

func newStatusFile(kind string, data []byte) statusFile {
	sum := sha256.Sum256(data)
	return statusFile{kind, base64.RawURLEncoding.EncodeToString(sum[:9]), data}
}

var embeddedStatusPage = sync.OnceValue(func() *statusPage {
	page := &statusPage{assets: make(map[string]statusFile, len(statusTypes))}
	html := readStatusFile("index.html")
	for name, kind := range statusTypes {
		file := newStatusFile(kind, readStatusFile(name))
		page.assets[name] = file
		named := fmt.Appendf(nil, "?asset=%s&amp;v=%s", name, file.version)
		html = bytes.ReplaceAll(html, []byte("?asset="+name), named)
	}
	page.html = newStatusFile("text/html; charset=utf-8", html)
	return page
})

// readStatusFile reads a file that is embedded, so that it is there.
func readStatusFile(name string) []byte {
	data, err := statusFiles.ReadFile("status/" + name)
	if err != nil {
		panic(err)
	}
	return data
}

func (p *statusPage) serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-cache")
	return p.html.serve(w, r)
}

func (p *statusPage) serveAsset(w http.ResponseWriter, r *http.Request, name, version string) error {
	file, ok := p.assets[name]
	if !ok {
		return answerProblem(w, adminError(http.StatusNotFound, "there is no asset %q", name))
	}
	w.Header().Set("Cache-Control", "no-cache")
	if version == file.version {
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	return file.serve(w, r)
}

func (f statusFile) serve(w http.ResponseWriter, r *http.Request) error {
	tag := `"` + f.version + `"`
	w.Header().Set("Etag", tag)
	if known := strings.Split(r.Header.Get("If-None-Match"), ","); slices.ContainsFunc(known, func(one string) bool {
		return strings.TrimPrefix(strings.TrimSpace(one), "W/") == tag
	}) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(f.data)))
	_, _ = w.Write(f.data) // the client is gone, or gets it
	return nil
}
