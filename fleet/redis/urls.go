package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// dialTimeout is how long a connection may take until it can be used.
const dialTimeout = time.Second

// keepAlive is after how long without an answer the engine asks whether the server is
// still there.
const keepAlive = time.Second

// exampleURL is what errors show. URLs themselves have passwords, and are never shown.
const exampleURL = "write one such as redis://user:password@host:6379"

// parameters are what may stand in the query of a URL.
var parameters = []string{"addr", "db", "master_set", "sentinel_password", "sentinel_user", "skip_verify"}

// parseURLs returns how to connect to the servers.
func parseURLs(urls []string) (rueidis.ClientOption, error) {
	if len(urls) == 0 {
		return rueidis.ClientOption{}, errors.New("urls: there is no URL of a Redis server: " + exampleURL)
	}
	var all rueidis.ClientOption
	for i, text := range urls {
		one, err := parseURL(text)
		if err != nil {
			return all, fmt.Errorf("urls: URL %d %w", i+1, err)
		}
		if i == 0 {
			all = one
			continue
		}
		if err := agree(&all, &one); err != nil {
			return all, fmt.Errorf("urls: URLs 1 and %d %w", i+1, err)
		}
		all.InitAddress = append(all.InitAddress, one.InitAddress...)
	}
	if len(all.InitAddress) > 1 && all.Sentinel.MasterSet == "" && all.SelectDB != 0 {
		return all, errors.New("urls: a cluster has database 0 only: leave the number out")
	}
	return all, nil
}

// agree returns an error unless two URLs say the same of everything but the host.
func agree(a, b *rueidis.ClientOption) error {
	switch {
	case (a.TLSConfig == nil) != (b.TLSConfig == nil):
		return errors.New("have different schemes: use rediss:// for all, or redis:// for all")
	case a.Username != b.Username || a.Password != b.Password:
		return errors.New("have different users or passwords: a fleet has one user, which all servers know")
	case a.SelectDB != b.SelectDB:
		return errors.New("have different databases: use the same number in all")
	case a.Sentinel.MasterSet != b.Sentinel.MasterSet:
		return errors.New("have a different master_set: with sentinels each URL has the same, and with a cluster none")
	}
	return nil
}

func parseURL(text string) (rueidis.ClientOption, error) {
	var none rueidis.ClientOption
	u, err := url.Parse(text)
	if err != nil {
		return none, errors.New("is no URL: " + exampleURL + "; in a password, what is not a letter or a digit is written as % and two hex digits")
	}
	query, err := checkURL(u)
	if err != nil {
		return none, err
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), defaultPort(query))
	}
	option, err := rueidis.ParseURL(u.String())
	if err != nil {
		// what it says may contain the URL, and all that is left to be wrong are these
		return none, errors.New("has a wrong path or parameter: behind the host there may be / and the number of a database, and " +
			strings.Join(parameters, ", ") + " behind ?")
	}
	if option.Sentinel.MasterSet != "" {
		option.Sentinel.TLSConfig = option.TLSConfig
		option.Sentinel.Username = query.Get("sentinel_user")
		option.Sentinel.Password = query.Get("sentinel_password")
		option.Sentinel.Dialer.Timeout = dialTimeout
		option.Sentinel.Dialer.KeepAlive = keepAlive
	}
	if option.TLSConfig != nil {
		option.TLSConfig.MinVersion = tls.VersionTLS12
	}
	option.DisableCache = true     // nothing is read twice
	option.DisableRetry = true     // a batch that came through unnoticed must not come again
	option.AlwaysPipelining = true // else a call that is given up closes the connection
	option.PipelineMultiplex = -1  // one connection
	option.RingScaleEachConn = 8   // of 256 calls at a time
	option.ReadBufferEachConn = 64 << 10
	option.WriteBufferEachConn = 64 << 10
	option.ClientSetInfo = rueidis.DisableClientSetInfo
	option.Dialer.Timeout = dialTimeout
	option.Dialer.KeepAlive = keepAlive
	return option, nil
}

// defaultPort is the port of sentinels, or of Redis itself.
func defaultPort(query url.Values) string {
	if query.Get("master_set") != "" {
		return "26379"
	}
	return "6379"
}

// checkURL returns the query of a URL whose other parts can be used.
func checkURL(u *url.URL) (url.Values, error) {
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return nil, errors.New("does not begin with redis:// or rediss:// (TLS): " + exampleURL)
	case u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("has no host: " + exampleURL)
	case u.Fragment != "":
		return nil, errors.New("has a # in it: write %23 in a password")
	case err != nil:
		return nil, errors.New("has a query that cannot be read: write ?name=value&name=value")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(parameters, name) {
			return nil, fmt.Errorf("has an unknown parameter %q: allowed are %s", name, strings.Join(parameters, ", "))
		}
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("has a port that is none: use 1 to 65535")
		}
	}
	if (query.Has("sentinel_user") || query.Has("sentinel_password")) && query.Get("master_set") == "" {
		return nil, errors.New("names what sentinels want, but no master_set: add it, or remove sentinel_user and sentinel_password")
	}
	return query, nil
}
