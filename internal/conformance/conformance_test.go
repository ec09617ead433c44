package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/conformance"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/receiver"
)

var secret = events.NewSecret()

func TestSamplePortalDoesEverythingRight(t *testing.T) {
	t.Parallel()
	for form := range bulletin.Forms {
		t.Run(form.String(), func(t *testing.T) {
			t.Parallel()
			var largest atomic.Int64
			r, err := receiver.New(receiver.Options{Name: "thử", Secrets: []string{secret}, Dir: t.TempDir(), Log: zerolog.Nop(),
				Answer: func(_ int, r *http.Request) *receiver.Fault {
					if n := r.ContentLength; n > largest.Load() {
						largest.Store(n)
					}
					return nil
				}})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			srv := httptest.NewServer(r.Handler())
			defer srv.Close()
			report, err := conformance.Run(t.Context(), conformance.Options{
				URL: srv.URL + "/bulletins", Secret: secret, State: srv.URL + "/bulletins.json", Form: form})
			if err != nil {
				t.Fatal(err)
			}
			for _, res := range report.Results {
				if res.Outcome != conformance.Passed {
					t.Errorf("%s: %s: %s", res.Check, res.Outcome, res.Got)
				}
			}
			if len(report.Results) < 30 || len(r.Held()) == 0 {
				t.Errorf("%d results, %d articles", len(report.Results), len(r.Held()))
			}
			if n := largest.Load(); n < events.MaxBulletinBytes*9/10 || n > events.MaxBulletinBytes {
				t.Errorf("the largest bulletin has %d bytes", n)
			}
			for _, h := range r.Held() {
				if h.Bulletin.Data.Status != events.StatusWithdrawn {
					t.Errorf("%s is left", h.Bulletin.Data.ID)
				}
			}
		})
	}
}

func TestWithoutAListWhatIsHeldIsNotJudged(t *testing.T) {
	t.Parallel()
	report := try(t, &portal{keep: func(*portal, events.Bulletin) int { return 204 }}, conformance.Options{})
	for _, res := range report.Results {
		want := conformance.Passed
		if res.Check == "digest-articles" || res.Level == conformance.May {
			want = conformance.Skipped
		}
		if res.Outcome != want {
			t.Errorf("%s: %s: %s", res.Check, res.Outcome, res.Got)
		}
	}
}

// portal is a receiver that does right what none of its functions does in its own way.
type portal struct {
	verify func(h http.Header, body []byte) error
	// keep stores a bulletin and gives the status to answer.
	keep func(p *portal, b events.Bulletin) int
	// serve answers instead, if it returns true.
	serve func(w http.ResponseWriter, r *http.Request, body []byte) bool

	mu   sync.Mutex
	held map[string]events.Bulletin
}

func (p *portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		p.mu.Lock()
		defer p.mu.Unlock()
		var all []map[string]events.Bulletin
		for _, b := range p.held {
			all = append(all, map[string]events.Bulletin{"bulletin": b})
		}
		json.NewEncoder(w).Encode(map[string]any{"bulletins": all})
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	verify := p.verify
	if verify == nil {
		v, _ := events.NewVerifier(secret)
		verify = v.Verify
	}
	if err := verify(r.Header, body); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if p.serve != nil && p.serve(w, r, body) {
		return
	}
	bulletins, err := bulletin.Parse(r.Header.Get("Content-Type"), body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range bulletins {
		keep := p.keep
		if keep == nil || b.Data.GUID == "" {
			keep = right
		}
		if status := keep(p, b); status >= 300 {
			w.WriteHeader(status)
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}

func right(p *portal, b events.Bulletin) int {
	if have, ok := p.held[b.Data.GUID]; b.Data.GUID != "" && (!ok || b.Data.Newer(have.Data)) {
		p.held[b.Data.GUID] = b
	}
	return 200
}

// try runs the checks against p. With a State of "list" they see what it holds.
func try(t *testing.T, p *portal, o conformance.Options) conformance.Report {
	t.Helper()
	p.held = map[string]events.Bulletin{}
	srv := httptest.NewServer(p)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	o.URL, o.Secret, o.StateWait = srv.URL+"/", secret, time.Nanosecond
	if o.State != "" {
		o.State = srv.URL + "/" + o.State
	}
	report, err := conformance.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// failing answers a status to the bulletins that match.
func failing(status int, match func(b events.Bulletin) bool) func(http.ResponseWriter, *http.Request, []byte) bool {
	return func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		b, _ := events.ParseBulletin(body)
		if match(b) {
			w.WriteHeader(status)
		}
		return match(b)
	}
}

// stored keeps what change makes of a bulletin, if that is newer.
func stored(change func(b *events.Bulletin)) func(*portal, events.Bulletin) int {
	return func(p *portal, b events.Bulletin) int {
		change(&b)
		return right(p, b)
	}
}

// ruled keeps a bulletin if newer says so.
func ruled(newer func(a, held events.BulletinArticle) bool) func(*portal, events.Bulletin) int {
	return func(p *portal, b events.Bulletin) int {
		if have, ok := p.held[b.Data.GUID]; !ok || newer(b.Data, have.Data) {
			p.held[b.Data.GUID] = b
		}
		return 200
	}
}

func TestEachFaultOfAReceiverIsFound(t *testing.T) {
	t.Parallel()
	verifier, err := events.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	const quick = 2 * time.Second // as a time-out; the machine may be busy
	var busy sync.Mutex
	digest := func(b events.Bulletin) bool { return b.Type == events.BulletinDigest }
	for name, c := range map[string]struct {
		portal  *portal
		timeout time.Duration
		finds   string // exactly these; "ping …" these among others
	}{
		"none": {&portal{}, 0, ""},
		"verifies nothing": {&portal{verify: func(http.Header, []byte) error { return nil }}, 0,
			"wrong-signature missing-signature changed-body changed-id old-timestamp future-timestamp refused-401"},
		"does not look at the time": {&portal{verify: func(h http.Header, body []byte) error { return plain.VerifyIgnoringTimestamp(body, h) }}, 0,
			"old-timestamp future-timestamp"},
		"wants the signature if there is one": {&portal{verify: func(h http.Header, body []byte) error {
			if h.Get(events.HeaderSignature) == "" {
				return nil
			}
			return verifier.Verify(h, body)
		}}, 0, "missing-signature"},
		"believes that the body is the one that was signed": {&portal{verify: func(h http.Header, body []byte) error {
			err := verifier.Verify(h, body)
			if errors.Is(err, events.ErrSignature) && bytes.Contains(body, []byte("giả mạo")) {
				return nil
			}
			return err
		}}, 0, "changed-body"},
		"does not verify the id": {&portal{verify: func(h http.Header, body []byte) error {
			h = h.Clone()
			h.Set(events.HeaderID, strings.TrimSuffix(h.Get(events.HeaderID), "x"))
			return verifier.Verify(h, body)
		}}, 0, "changed-id"},
		"looks at the first signature alone": {&portal{verify: func(h http.Header, body []byte) error {
			h = h.Clone()
			one, _, _ := strings.Cut(h.Get(events.HeaderSignature), " ")
			h.Set(events.HeaderSignature, one)
			return verifier.Verify(h, body)
		}}, 0, "two-signatures unknown-signature"},
		"wants a clock that is right to the minute": {&portal{verify: func(h http.Header, body []byte) error { return near(h, verifier.Verify(h, body)) }}, 0,
			"clock-skew"},
		"refuses what is not signed with 400": {&portal{verify: func(http.Header, []byte) error { return nil }, serve: func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			bad := verifier.Verify(r.Header, body) != nil
			if bad {
				w.WriteHeader(http.StatusBadRequest)
			}
			return bad
		}}, 0, "refused-401"},
		"refuses pings": {&portal{serve: failing(400, func(b events.Bulletin) bool { return b.Type == events.BulletinPing })}, 0,
			"ping clock-skew two-signatures unknown-signature"},
		"redirects": {&portal{serve: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			http.Redirect(w, r, "/", http.StatusFound)
			return true
		}}, 0, "ping good-signature …"},
		"keeps nothing": {&portal{keep: func(*portal, events.Bulletin) int { return 200 }}, 0, "good-signature update repeat …"},
		"keeps what came last": {&portal{keep: ruled(func(_, _ events.BulletinArticle) bool { return true })}, 0,
			"older-after-newer older-after-withdrawal unknown-withdrawal"},
		"keeps what came first": {&portal{keep: ruled(func(_, _ events.BulletinArticle) bool { return false })}, 0,
			"update revision correction large-version withdrawal older-after-withdrawal published-again digest-articles withdrawn-in-the-end"},
		"compares versions as text": {&portal{keep: ruled(func(a, h events.BulletinArticle) bool {
			return a.Newer(h) && (a.Version == h.Version || fmt.Sprint(a.Version) > fmt.Sprint(h.Version))
		})}, 0, "update withdrawn-in-the-end …"},
		"compares versions as floats": {&portal{keep: ruled(func(a, h events.BulletinArticle) bool {
			return a.Version == h.Version && a.Newer(h) || float32(a.Version) > float32(h.Version)
		})}, 0, "large-version …"},
		"does not know revisions": {&portal{keep: ruled(func(a, h events.BulletinArticle) bool { return a.Version > h.Version })}, 0, "revision"},
		"answers a repeat with 409": {&portal{keep: func(p *portal, b events.Bulletin) int {
			if h, ok := p.held[b.Data.GUID]; ok && h.Data.Version == b.Data.Version && h.Data.Revision == b.Data.Revision {
				return http.StatusConflict
			}
			return right(p, b)
		}}, 0, "repeat"},
		"answers what is older with 409": {&portal{keep: func(p *portal, b events.Bulletin) int {
			if h, ok := p.held[b.Data.GUID]; ok && h.Data.Newer(b.Data) {
				return http.StatusConflict
			}
			return right(p, b)
		}}, 0, "older-after-newer older-after-withdrawal unknown-withdrawal"},
		"does not withdraw": {&portal{keep: func(p *portal, b events.Bulletin) int {
			if b.Type == events.BulletinWithdrawn {
				return 200
			}
			return right(p, b)
		}}, 0, "withdrawal older-after-withdrawal unknown-withdrawal digest-articles withdrawn-in-the-end"},
		"deletes what is withdrawn": {&portal{keep: func(p *portal, b events.Bulletin) int {
			if b.Type == events.BulletinWithdrawn {
				delete(p.held, b.Data.GUID)
				return 200
			}
			return right(p, b)
		}}, 0, "older-after-withdrawal unknown-withdrawal"},
		"knows no withdrawal of what it does not have": {&portal{keep: func(p *portal, b events.Bulletin) int {
			if _, ok := p.held[b.Data.GUID]; !ok && b.Type == events.BulletinWithdrawn {
				return http.StatusNotFound
			}
			return right(p, b)
		}}, 0, "unknown-withdrawal withdrawn-in-the-end"},
		"never brings back": {&portal{keep: func(p *portal, b events.Bulletin) int {
			if p.held[b.Data.GUID].Type == events.BulletinWithdrawn {
				return 200
			}
			return right(p, b)
		}}, 0, "published-again"},
		"loses corrections": {&portal{keep: func(p *portal, b events.Bulletin) int {
			if b.Data.Correction != "" {
				return 200
			}
			return right(p, b)
		}}, 0, "correction"},
		"refuses digests":       {&portal{serve: failing(422, digest)}, 0, "digest digest-articles"},
		"passes digests over":   {&portal{serve: failing(204, digest)}, 0, "digest-articles"},
		"refuses unknown types": {&portal{serve: failing(400, func(b events.Bulletin) bool { return strings.Contains(b.Type, "newer") })}, 0, "unknown-type"},
		"refuses unknown fields": {&portal{serve: func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
			unknown := bytes.Contains(body, []byte("of_a_newer_loa"))
			if unknown {
				w.WriteHeader(http.StatusBadRequest)
			}
			return unknown
		}}, 0, "unknown-field"},
		"takes 256 KiB": {&portal{serve: func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
			large := len(body) > 256<<10
			if large {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
			return large
		}}, 0, "large-body"},
		"has a database for three bytes a character": {&portal{keep: stored(func(b *events.Bulletin) {
			b.Data.Title, _, _ = strings.Cut(b.Data.Title, "📢")
		})}, 0, "vietnamese"},
		"escapes what it keeps": {&portal{keep: stored(func(b *events.Bulletin) { b.Data.Title = html.EscapeString(b.Data.Title) })}, 0, "vietnamese"},
		"fails when it is busy": {&portal{serve: func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			if !busy.TryLock() {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
			defer busy.Unlock()
			time.Sleep(50 * time.Millisecond) // in which the others come
			return false
		}}, 0, "at-once"},
		"closes each connection": {&portal{serve: func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			w.Header().Set("Connection", "close")
			return false
		}}, 0, "keep-alive"},
		"hangs at digests": {&portal{serve: func(_ http.ResponseWriter, r *http.Request, body []byte) bool {
			if b, _ := events.ParseBulletin(body); digest(b) {
				<-r.Context().Done()
				return true
			}
			return false
		}}, quick, "digest digest-articles in-time fast"},
		"takes its time with large ones": {&portal{serve: func(_ http.ResponseWriter, _ *http.Request, body []byte) bool {
			if len(body) > 256<<10 {
				time.Sleep(quick)
			}
			return false
		}}, 2 * quick, "fast"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := try(t, c.portal, conformance.Options{State: "list", Timeout: c.timeout})
			finds, open := strings.CutSuffix(c.finds, " …")
			want := strings.Fields(finds)
			got := map[string]conformance.Result{}
			for _, res := range report.Results {
				if res.Outcome == conformance.Failed {
					got[res.Check] = res
					if res.Got == "" || res.Advice == "" {
						t.Errorf("%s does not say what was wrong, or what to do: %+v", res.Check, res)
					}
				}
			}
			for _, check := range want {
				if _, ok := got[check]; !ok {
					t.Errorf("%s is not found: %v", check, slices.Sorted(maps.Keys(got)))
				}
				delete(got, check)
			}
			if len(got) > 0 && !open {
				t.Errorf("found besides: %+v", slices.Collect(maps.Values(got)))
			}
		})
	}
}

// signed signs a body anew, whoever sent it.
func signed(t *testing.T, r *http.Request, body []byte) *http.Request {
	t.Helper()
	now := time.Now()
	signature, err := events.Sign(secret, "msg_1", now, body)
	if err != nil {
		t.Error(err)
	}
	fresh := r.Clone(r.Context())
	fresh.Body, fresh.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	fresh.Header.Set(events.HeaderID, "msg_1")
	fresh.Header.Set(events.HeaderTimestamp, fmt.Sprint(now.Unix()))
	fresh.Header.Set(events.HeaderSignature, signature)
	return fresh
}

func TestWhatIsWrongAboutAnswersToManifestsIsFound(t *testing.T) {
	t.Parallel()
	type spoiled func(t *testing.T, h http.Handler, w http.ResponseWriter, r *http.Request, body []byte)
	changed := func(from, to string) spoiled {
		return func(_ *testing.T, h http.Handler, w http.ResponseWriter, r *http.Request, _ []byte) {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			w.Write(bytes.ReplaceAll(rec.Body.Bytes(), []byte(from), []byte(to)))
		}
	}
	for name, c := range map[string]struct {
		spoil spoiled
		finds string
	}{
		"tells anybody": {func(t *testing.T, h http.Handler, w http.ResponseWriter, r *http.Request, body []byte) {
			h.ServeHTTP(w, signed(t, r, body))
		}, "manifest-forged"},
		"lists all it has": {func(t *testing.T, h http.Handler, w http.ResponseWriter, r *http.Request, body []byte) {
			h.ServeHTTP(w, signed(t, r, []byte(`{"type":"loa.manifest","data":{"page":1,"after":"","entries":[]}}`)))
		}, "manifest manifest-forged same-version"},
		"names other versions":  {changed(`"version":`, `"version":1`), "manifest same-version"},
		"computes other hashes": {changed(`"hash":"sha256:`, `"hash":"sha256:0`), "manifest same-version"},
		"keeps no names":        {changed(`"guid":"urn`, `"uid":"urn`), "manifest manifest-forged same-version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec, err := receiver.New(receiver.Options{Secrets: []string{secret}, Log: zerolog.Nop()})
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Close()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				if bytes.Contains(body, []byte(`"loa.manifest"`)) {
					c.spoil(t, rec.Handler(), w, r, body)
					return
				}
				rec.Handler().ServeHTTP(w, r)
			}))
			defer srv.Close()
			report, err := conformance.Run(t.Context(), conformance.Options{URL: srv.URL + "/bulletins", Secret: secret})
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, res := range report.Results {
				if res.Level == conformance.May && res.Outcome == conformance.Failed {
					found = append(found, res.Check)
				}
			}
			if got := strings.Join(found, " "); got != c.finds {
				t.Errorf("found %q, expected %q", got, c.finds)
			}
		})
	}
}

// near refuses what was signed more than a minute from now.
func near(h http.Header, err error) error {
	var seconds int64
	fmt.Sscan(h.Get(events.HeaderTimestamp), &seconds)
	if off := time.Since(time.Unix(seconds, 0)).Abs(); off > time.Minute {
		return events.ErrTooOld
	}
	return err
}

func TestWhatCannotBeTriedIsAnError(t *testing.T) {
	t.Parallel()
	nobody := "http://" + loatest.Address(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	srv := httptest.NewServer(&portal{})
	defer srv.Close()
	for name, c := range map[string]struct {
		ctx context.Context
		o   conformance.Options
	}{
		"nobody listens":    {t.Context(), conformance.Options{URL: nobody, Secret: secret}},
		"no URL":            {t.Context(), conformance.Options{Secret: secret}},
		"no secret":         {t.Context(), conformance.Options{URL: srv.URL}},
		"link-local":        {t.Context(), conformance.Options{URL: "http://169.254.169.254/", Secret: secret}},
		"no list":           {t.Context(), conformance.Options{URL: srv.URL, Secret: secret, State: nobody}},
		"told to stop":      {ctx, conformance.Options{URL: srv.URL, Secret: secret}},
		"list at no scheme": {t.Context(), conformance.Options{URL: srv.URL, Secret: secret, State: "file:///etc/passwd"}},
	} {
		if r, err := conformance.Run(c.ctx, c.o); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
