package media

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
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
	accept    = "image/jpeg, image/png, image/webp, image/gif"
	userAgent = "Loa (picture fetcher)"
)

// fromAddress gets the picture behind an address. If it was fetched before, the server is
// asked whether it changed; if the server cannot say, the picture that is held will do.
func (s *Store) fromAddress(ctx context.Context, address string) (*stored, error) {
	if _, err := outbound.CheckURL(address, true); err != nil {
		return nil, classify(err)
	}
	src, err := s.index.source(ctx, address)
	if err != nil {
		return nil, err
	}
	var held *stored
	if src != nil {
		if held, err = s.find(ctx, src.SHA256); err != nil {
			return nil, err
		}
	}
	if held == nil {
		src = nil // so no condition is sent: the answer must have a body
	} else if time.Since(src.Checked) < freshFor {
		s.metrics.reused.Inc()
		return held, nil
	}
	p, err := s.fetch(ctx, address, src, held)
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
func (s *Store) fetch(ctx context.Context, address string, src *source, held *stored) (*stored, error) {
	resp, err := s.request(ctx, address, src)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		weight := min(max(resp.ContentLength, 0), s.o.Bodies)
		if resp.ContentLength < 0 { // not told
			weight = min(s.o.MaxBytes, s.o.Bodies)
		}
		if !s.bodies.TryAcquire(weight) {
			// A server is not kept waiting while memory is short, or its answer would run into
			// the deadline: it is asked again when there is room for anything that it may say.
			resp.Body.Close()
			weight = min(s.o.MaxBytes, s.o.Bodies)
			if err := s.bodies.Acquire(ctx, weight); err != nil {
				return nil, fmt.Errorf("wait for %d bytes of memory to fetch: %w", weight, err)
			}
			resp, err = s.request(ctx, address, src)
		}
		defer s.bodies.Release(weight)
		if err != nil {
			return nil, err
		}
	}
	defer resp.Body.Close()

	next := source{URL: address, Checked: time.Now(),
		ETag: validator(resp.Header.Get("ETag")), LastModified: validator(resp.Header.Get("Last-Modified"))}
	var p *stored
	switch {
	case resp.StatusCode == http.StatusNotModified && held != nil:
		p = held
		next.ETag = cmp.Or(next.ETag, src.ETag)
		next.LastModified = cmp.Or(next.LastModified, src.LastModified)
		s.metrics.reused.Inc()
	case resp.StatusCode == http.StatusOK:
		if p, err = s.receive(ctx, resp); err != nil {
			return nil, err
		}
	default:
		return nil, statusError(resp.StatusCode)
	}
	next.SHA256 = p.SHA256
	if err := s.index.putSource(ctx, next); err != nil {
		return nil, err
	}
	return p, nil
}

// request asks for what is at an address, unless it is still what src says.
func (s *Store) request(ctx context.Context, address string, src *source) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, &PermanentError{err}
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", userAgent)
	if src != nil {
		setIfNotEmpty(req.Header, "If-None-Match", src.ETag)
		setIfNotEmpty(req.Header, "If-Modified-Since", src.LastModified)
	}
	resp, err := s.o.Client.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	if resp.ContentLength > s.o.MaxBytes {
		resp.Body.Close()
		return nil, &PermanentError{fmt.Errorf("%w: %d bytes, at most %d", outbound.ErrTooLarge, resp.ContentLength, s.o.MaxBytes)}
	}
	return resp, nil
}

// receive reads a picture and stores it.
func (s *Store) receive(ctx context.Context, resp *http.Response) (*stored, error) {
	body, err := outbound.ReadBody(resp.Body, s.o.MaxBytes)
	if err != nil {
		return nil, classify(err)
	}
	s.metrics.fetched.Inc()
	return s.keep(ctx, body)
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
