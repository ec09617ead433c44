package media

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/outbound"
)

const (
	// freshFor is how long an address is taken to give the picture that it gave last, without
	// asking. An article's versions follow each other within minutes; a picture that was
	// replaced under its old address is seen when a later version names it again.
	freshFor = 10 * time.Minute
	// accept names the formats that are taken. Servers that negotiate should send what they
	// hold, so what cameras write comes first.
	accept    = "image/jpeg, image/png, image/webp, image/gif, image/heic;q=0.5, image/avif;q=0.5"
	userAgent = "Loa (picture fetcher)"
)

// fromAddress gets what is behind an address. If it was fetched before, the server is asked
// whether it changed; if the server cannot say, what is held will do.
func (s *Store) fromAddress(ctx context.Context, w wanted, address string) (*stored, error) {
	fetch := s.fetch
	if strings.HasPrefix(address, bucketScheme) {
		fetch = s.copy
	} else if _, err := outbound.CheckURL(address, true); err != nil {
		return nil, classify(err)
	}
	src, err := s.index.source(ctx, address)
	if err != nil {
		return nil, err
	}
	var held *stored
	if src != nil {
		if held, err = s.find(ctx, w.kind, src.SHA256); err != nil {
			return nil, err
		}
	}
	if held == nil {
		src = nil // so no condition is sent: the answer must have a body
	} else if time.Since(src.Checked) < freshFor {
		s.metrics.reused.Inc()
		return held, nil
	}
	p, err := fetch(ctx, w, address, src, held)
	if err != nil && held != nil && !permanent(err) {
		s.o.Log.Warn().Err(err).Str("url", address).Str("sha256", held.SHA256).
			Msg("picture not reachable, former one kept")
		s.metrics.reused.Inc()
		return held, nil
	}
	return p, err
}

// fetch asks the server, and notes what it answered. held is what src says is at the address;
// both are nil when nothing is.
func (s *Store) fetch(ctx context.Context, w wanted, address string, src *source, held *stored) (*stored, error) {
	next := source{URL: address, Checked: time.Now()}
	body, release, err := s.download(ctx, w, address, src, &next)
	if err != nil {
		return nil, err
	}
	defer release()
	p := held
	if body == nil { // unchanged
		s.metrics.reused.Inc()
	} else if p, err = s.keep(ctx, w, body); err != nil {
		return nil, err
	}
	next.SHA256 = p.SHA256
	if err := s.index.putSource(ctx, next); err != nil {
		return nil, err
	}
	return p, nil
}

// download reads what is at an address, and the validators that it came with; nil if it is still
// what src says. Until release is called, its bytes count as held.
func (s *Store) download(ctx context.Context, w wanted, address string, src, next *source) (body []byte, release func(), err error) {
	leave, err := s.hosts.enter(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	resp, err := s.request(ctx, w, address, src)
	if err != nil {
		return nil, nil, err
	}
	release = func() {}
	if resp.StatusCode == http.StatusOK {
		weight := min(max(resp.ContentLength, 0), s.o.Bodies)
		if resp.ContentLength < 0 { // not told
			weight = min(w.maxBytes, s.o.Bodies)
		}
		if !s.bodies.TryAcquire(weight) {
			// A server is not kept waiting while memory is short, or its answer would run into
			// the deadline: it is asked again when there is room for anything that it may say.
			resp.Body.Close()
			weight = min(w.maxBytes, s.o.Bodies)
			if _, err := s.memory(ctx, s.bodies, weight, "fetch"); err != nil {
				return nil, nil, err
			}
			resp, err = s.request(ctx, w, address, src)
		}
		release = func() { s.bodies.Release(weight) }
	}
	if err == nil {
		defer resp.Body.Close()
		body, err = s.answer(resp, w, src, next)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return body, release, nil
}

// request asks for what is at an address, unless it is still what src says.
func (s *Store) request(ctx context.Context, w wanted, address string, src *source) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, &PermanentError{err}
	}
	req.Header.Set("Accept", w.accept)
	req.Header.Set("User-Agent", userAgent)
	for _, c := range s.o.Credentials {
		if c.covers(req.URL) {
			req.SetBasicAuth(c.User, c.Password.Reveal())
		}
	}
	if src != nil {
		setIfNotEmpty(req.Header, "If-None-Match", src.ETag)
		setIfNotEmpty(req.Header, "If-Modified-Since", src.LastModified)
	}
	resp, err := s.o.Client.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	if resp.ContentLength > w.maxBytes {
		resp.Body.Close()
		return nil, &PermanentError{fmt.Errorf("%w: %d bytes, at most %d", outbound.ErrTooLarge, resp.ContentLength, w.maxBytes)}
	}
	return resp, nil
}

// answer reads a body and its validators.
func (s *Store) answer(resp *http.Response, w wanted, src, next *source) ([]byte, error) {
	next.ETag, next.LastModified = validator(resp.Header.Get("ETag")), validator(resp.Header.Get("Last-Modified"))
	switch {
	case resp.StatusCode == http.StatusNotModified && src != nil:
		next.ETag = cmp.Or(next.ETag, src.ETag)
		next.LastModified = cmp.Or(next.LastModified, src.LastModified)
		return nil, nil
	case resp.StatusCode == http.StatusOK:
		body, err := outbound.ReadBody(resp.Body, w.maxBytes)
		if err != nil {
			return nil, classify(err)
		}
		s.metrics.fetched.Inc()
		return body, nil
	default:
		return nil, statusError(resp.StatusCode)
	}
}

// statusError tells answers that will stay the same from those that may pass: 4xx is the
// asker's fault, except where it says "not now".
func statusError(code int) error {
	err := fmt.Errorf("source answered %d %s", code, http.StatusText(code))
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return err
	}
	if code >= 500 {
		return err
	}
	return &PermanentError{err}
}

// validatorMax is in bytes. A longer validator would only fill the index.
const validatorMax = 256

func validator(v string) string {
	if len(v) > validatorMax {
		return ""
	}
	return v
}

func setIfNotEmpty(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

func permanent(err error) bool {
	var p *PermanentError
	return errors.As(err, &p)
}
