package schema

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
)

// referrer says which place of the documents refers to a location, and by which keyword.
func (s *source) referrer(location string) string {
	for _, from := range slices.Sorted(maps.Keys(s.documents)) {
		base, err := url.Parse(from)
		if err != nil {
			continue
		}
		if place, keyword := referrer(s.documents[from], base, "", location); keyword != "" {
			return fmt.Sprintf("at %s: %s", readable(from+"#"+url.PathEscape(place)), keyword)
		}
	}
	return "$ref or $schema" // of a document that is in none of the files
}

// referrer is where in a document, and by which keyword, a location is referred to;
// "" for nowhere.
func referrer(document any, base *url.URL, at, location string) (place, keyword string) {
	switch v := document.(type) {
	case map[string]any:
		for _, id := range []string{"$id", "id"} { // the latter up to draft 4
			if reference, ok := v[id].(string); ok {
				base = resolve(base, reference)
			}
		}
		for _, keyword := range []string{"$ref", "$schema", "$dynamicRef"} {
			if reference, ok := v[keyword].(string); ok && resolve(base, reference).String() == location {
				return at + "/" + keyword, keyword
			}
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if place, keyword := referrer(v[name], base, at+"/"+escape(name), location); keyword != "" {
				return place, keyword
			}
		}
	case []any:
		for i, item := range v {
			if place, keyword := referrer(item, base, fmt.Sprintf("%s/%d", at, i), location); keyword != "" {
				return place, keyword
			}
		}
	}
	return "", ""
}

// resolve is a reference without what is behind its number sign, and base if it is none.
func resolve(base *url.URL, reference string) *url.URL {
	resolved, err := base.Parse(reference)
	if err != nil {
		return base
	}
	resolved.Fragment, resolved.RawFragment = "", ""
	return resolved
}
