package importer

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/outbound"
)

const (
	// maxDocument bounds one document, in bytes, as it is once it is decompressed: a feed of a thousand articles with
	// their texts.
	maxDocument = 32 << 20
	// fetchTimeout is for one document: 32 MiB over 5 Mbit/s.
	fetchTimeout = time.Minute
	redirects    = 5
	// pace is the pause between two requests to a portal, which is to serve its readers first.
	pace = 250 * time.Millisecond
	// tries is how often a document is asked for, with pauses that double from firstPause; a server may
	// ask for up to longestPause (Retry-After).
	tries        = 5
	firstPause   = time.Second
	longestPause = 5 * time.Minute

	userAgent = "Loa (importer)"
)

// Fetcher gets documents from addresses that an operator named, and from where these lead.
type Fetcher struct {
	client *http.Client
	pace   time.Duration
	pause  time.Duration // the first after a failure
	last   time.Time     // when a request ended
}

// NewFetcher makes a fetcher that calls public addresses, and those within allow.
func NewFetcher(allow []netip.Prefix) *Fetcher {
	return &Fetcher{client: outbound.New(outbound.Options{Allow: allow, MaxRedirects: redirects, Timeout: fetchTimeout}), pace: pace, pause: firstPause}
}

// Close ends the fetcher's connections.
func (f *Fetcher) Close() { f.client.CloseIdleConnections() }

// response is an answer, read to its end.
type response struct {
	url    *url.URL // after redirects
	status int
	header http.Header
	body   []byte
}

// StatusError is an answer other than success.
type StatusError struct {
	URL    string
	Status int
	// RetryAfter is when the server wants to be asked again; 0 if it does not say.
	RetryAfter time.Duration
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answers %d %s", e.URL, e.Status, http.StatusText(e.Status))
}

// passing reports whether the same request may be answered otherwise soon.
func (e *StatusError) passing() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status >= 500 && e.Status != http.StatusNotImplemented
}

// get gets a document, with several tries. 304 is an answer too, where conditions were sent.
func (f *Fetcher) get(ctx context.Context, address string, header http.Header) (*response, error) {
	pause := f.pause
	for try := 1; ; try++ {
		if err := sleep(ctx, f.pace-time.Since(f.last)); err != nil {
			return nil, err
		}
		resp, err := f.once(ctx, address, header)
		f.last = time.Now()
		if err == nil {
			return resp, nil
		}
		var status *StatusError
		var refused *outbound.RefusedError
		wait := pause + rand.N(pause) // so that several importers do not come back together
		switch {
		case ctx.Err() != nil:
			return nil, err
		case errors.As(err, &refused), errors.Is(err, outbound.ErrTooLarge):
			return nil, err
		case errors.As(err, &status) && !status.passing():
			return nil, err
		case errors.As(err, &status):
			wait = max(wait, status.RetryAfter)
		}
		if try == tries || wait > longestPause {
			return nil, err
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
		pause *= 2
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Fetcher) once(ctx context.Context, address string, header http.Header) (*response, error) {
	u, err := outbound.CheckURL(address, true)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", address, err)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "gzip")
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", address, err)
	}
	defer resp.Body.Close()
	r := &response{url: resp.Request.URL, status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode == http.StatusNotModified {
		return r, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &StatusError{URL: address, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header, time.Now())}
	}
	var body io.Reader = resp.Body
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		if body, err = gzip.NewReader(resp.Body); err != nil {
			return nil, fmt.Errorf("decompress %s: %w", address, err)
		}
	}
	// The limit is on what comes out: a bomb stops there.
	if r.body, err = outbound.ReadBody(body, maxDocument); err != nil {
		return nil, fmt.Errorf("read %s: %w", address, err)
	}
	return r, nil
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3); 0 when it says nothing.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if t, err := http.ParseTime(text); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}
