package bulletins

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/portal"
)

const (
	// maxAnswer is how much of an answer is read, in bytes: enough to say what is wrong, and,
	// for answers that end within it, to use the connection again.
	maxAnswer = 64 << 10
	// answerTime is how long an answer's body may take once its status is known. The status is
	// all that counts; a body that drips would only hold up the portal's other bulletins.
	answerTime = time.Second
)

// answer is what came of one request.
type answer struct {
	status     int
	retryAfter string // the header
	body       []byte // at most maxAnswer, or what was asked for
	cut        error  // why there is not all of it; for a bulletin, what there is will do
	// err says why there is no status.
	err error
	// sent says that the bulletin may have arrived, whatever err says. Without it, it did not.
	sent bool
	// during is what was under way when err came.
	during outbound.Stage
}

// push posts one bulletin, signed as of now.
func (w *Worker) push(ctx context.Context, p portal.Portal, id string, body []byte, contentType string) answer {
	return w.ask(ctx, p, id, body, contentType, maxAnswer, answerTime)
}

// ask is push where the answer's body counts: up to most bytes of it are read, for at most so long.
func (w *Worker) ask(ctx context.Context, p portal.Portal, id string, body []byte, contentType string, most int64, within time.Duration) (a answer) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	client, address, err := w.clients.of(p)
	if err != nil {
		return answer{err: err}
	}
	req, err := w.request(ctx, p, address, id, body, contentType)
	if err != nil {
		return answer{err: err}
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		a.err = err
		var failed *outbound.StageError
		if errors.As(err, &failed) {
			a.err, a.during, a.sent = failed.Err, failed.Stage, failed.Sent
		}
		return a
	}
	a.sent = true
	defer resp.Body.Close()
	a.status = resp.StatusCode
	a.retryAfter = resp.Header.Get("Retry-After")
	if resp.ContentLength != 0 {
		slow := time.AfterFunc(within, cancel)
		defer slow.Stop()
		a.body, a.cut = io.ReadAll(io.LimitReader(resp.Body, most))
	}
	return a
}

func (w *Worker) request(ctx context.Context, p portal.Portal, u *url.URL, id string, body []byte, contentType string) (*http.Request, error) {
	now := time.Now()
	secrets := p.Signing(now)
	signatures := make([]string, len(secrets))
	var err error
	for i, s := range secrets {
		if signatures[i], err = events.Sign(s.Reveal(), id, now, body); err != nil {
			return nil, err
		}
	}
	header := make(http.Header, 8+len(p.Headers))
	for name, value := range p.Headers {
		header.Set(name, value.Reveal())
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", w.agent)
	}
	header.Set("Content-Type", contentType)
	header.Set(events.HeaderID, id)
	header.Set(events.HeaderTimestamp, unix(now))
	header.Set(events.HeaderSignature, strings.Join(signatures, " "))
	req := &http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
	return req.WithContext(ctx), nil
}
