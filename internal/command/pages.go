package command

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
)

// elementsPerPage is how many elements of a list are asked for at once.
const elementsPerPage = 1000

// fetchPages follows the pages of a list, which is in the order of the IDs. It also
// returns each element as the admin endpoint has written it.
func fetchPages[T any](ctx context.Context, endpoint *adminEndpoint, path string, query url.Values, idOf func(T) string) ([]T, []json.RawMessage, error) {
	var all []T
	var documents []json.RawMessage
	query.Set("limit", strconv.Itoa(elementsPerPage))
	for {
		page, elements, err := fetchPage[T](ctx, endpoint, path, query)
		if err != nil {
			return nil, nil, err
		}
		all, documents = append(all, page...), append(documents, elements...)
		if len(page) < elementsPerPage {
			return all, documents, nil
		}
		last := idOf(page[len(page)-1])
		if last == query.Get("after") {
			return nil, nil, commandFailure(exitRefused, "the admin endpoint at %s repeats the page of %s after %q", endpoint.address, path, last)
		}
		query.Set("after", last)
	}
}

// fetchPage reads a list, and each element as the admin endpoint has written it.
func fetchPage[T any](ctx context.Context, endpoint *adminEndpoint, path string, query url.Values) ([]T, []json.RawMessage, error) {
	var page []T
	document, err := endpoint.get(ctx, path, query, &page)
	if err != nil {
		return nil, nil, err
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(document, &elements); err != nil {
		return nil, nil, err
	}
	return page, elements, nil
}
