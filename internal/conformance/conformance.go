// Package conformance tries a receiver of bulletins: it plays Loa against somebody's endpoint, in
// all the ways that the contract (events/README.md) speaks of, and says what was right and what
// was not.
//
//	report, err := conformance.Run(ctx, conformance.Options{URL: …, Secret: …})
//
// The endpoint is sent articles of a site that does not exist, which are all withdrawn in the end.
// What it answers is seen; what it holds is seen only where it offers a list, in the form of
// that of `loa receive`.
package conformance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/site"
)

const (
	// timeoutDefault is how long Loa waits for an answer.
	timeoutDefault = 15 * time.Second
	// answerBytes of an answer are read, as Loa does.
	answerBytes = 64 << 10
	// stateBytes bound the list of what a receiver holds: ten thousand ordinary bulletins.
	stateBytes = 64 << 20
	// stateWaitDefault is how long what was answered 2xx may take to show in that list, and
	// stateEvery how often it is looked at meanwhile.
	stateWaitDefault = 5 * time.Second
	stateEvery       = 200 * time.Millisecond
)

// Options of a run.
type Options struct {
	// URL is the endpoint, and Secret what it verifies signatures with.
	URL, Secret string
	// State is where the endpoint's receiver lists what it holds; without it, answers alone are
	// looked at.
	State string
	// Form is that of the articles sent.
	Form bulletin.Form
	// Timeout is how long an answer may take; 15 s when 0, as with Loa.
	Timeout time.Duration
	// StateWait is how long State may lag behind the answers; 5 s when 0.
	StateWait time.Duration
	// Version is Loa's own, for the User-Agent.
	Version string
	// Progress is called with each result as it is known.
	Progress func(Result)
}

// Level says how much a check matters.
type Level string

// Levels, as RFC 2119 has them.
const (
	Must   Level = "MUST"   // or articles are lost, come back, or come from anybody
	Should Level = "SHOULD" // or it goes less well than it could
	May    Level = "MAY"    // is done by choice, but then rightly
)

// Outcomes of a check.
const (
	Passed  = "passed"
	Failed  = "failed"
	Skipped = "skipped" // it cannot be seen without the list of what is held, or is not done
)

// Result is what came of one check.
type Result struct {
	Check   string `json:"check"`
	Level   Level  `json:"level"`
	Title   string `json:"title"` // what is to hold
	Outcome string `json:"outcome"`
	Got     string `json:"got,omitempty"`
	Advice  string `json:"advice,omitempty"` // what to do, of one that failed
}

// Report is what came of a run.
type Report struct {
	URL       string   `json:"url"`
	State     string   `json:"state,omitempty"`
	Form      string   `json:"form"`
	SlowestMS int64    `json:"slowest_ms"` // of all answers
	Results   []Result `json:"results"`
}

// Count counts the checks of a level with an outcome.
func (r Report) Count(l Level, outcome string) (n int) {
	for _, res := range r.Results {
		if res.Level == l && res.Outcome == outcome {
			n++
		}
	}
	return n
}

// Run tries the endpoint. It returns an error if the endpoint cannot be tried at all: nobody
// answers there, or the options are wrong.
func Run(ctx context.Context, o Options) (Report, error) {
	o.Timeout, o.StateWait = cmp.Or(o.Timeout, timeoutDefault), cmp.Or(o.StateWait, stateWaitDefault)
	if _, err := events.NewVerifier(o.Secret); err != nil {
		return Report{}, err
	}
	s := &session{o: o, run: strings.ToLower(rand.Text()[:12]), sent: map[string]*article.Article{}}
	for _, c := range []**http.Client{&s.client, &s.lister} {
		// With the version of HTTP that bulletins are sent with.
		*c = outbound.New(outbound.Options{Allow: near, HTTP1: true, Timeout: max(o.Timeout, timeoutDefault)})
		defer (*c).CloseIdleConnections()
	}
	r := Report{URL: o.URL, State: o.State, Form: o.Form.String()}
	if _, err := s.post(ctx, s.ping()); err != nil {
		return r, fmt.Errorf("try %s: %w", o.URL, err)
	}
	if o.State != "" {
		if _, err := s.list(ctx); err != nil {
			return r, fmt.Errorf("list what is held: %w", err)
		}
	}
	for _, c := range checks {
		s.last = ""
		err := c.do(ctx, s)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		res := Result{Check: c.name, Level: c.level, Title: c.title, Outcome: Passed, Got: s.last}
		switch {
		case errors.Is(err, errUnseen):
			res.Outcome, res.Got = Skipped, ""
		case errors.Is(err, errNotDone):
			res.Outcome = Skipped
		case err != nil:
			res.Outcome, res.Got, res.Advice = Failed, err.Error(), c.advice
		}
		r.Results = append(r.Results, res)
		if o.Progress != nil {
			o.Progress(res)
		}
	}
	r.SlowestMS = s.slowest.Milliseconds()
	return r, nil
}

// near are addresses that Loa calls only where it is allowed to: here the operator has named
// the one to call. Link-local ones, at which clouds tell secrets, are not among them.
var near = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fc00::/7"),
}

// session is a run under way.
type session struct {
	o      Options
	client *http.Client // of bulletins
	lister *http.Client // of State, which must not lend its connections
	run    string       // sets its articles apart from those of other runs

	mu      sync.Mutex
	posts   int
	slowest time.Duration
	timeout bool                        // some answer did not come in time
	last    string                      // the latest answer, for people
	sent    map[string]*article.Article // by GUID, the newest that was taken
}

// errUnseen says that a check needs the list of what is held.
var errUnseen = errors.New("no list of what is held")

// errNotDone says that the receiver does not do what it may.
var errNotDone = errors.New("not done")

// post is a request, right in all that is not set.
type post struct {
	bulletin.Document
	id      string                // of the webhook
	age     time.Duration         // of the timestamp
	secrets []string              // that sign; the right one
	spoil   func(r *http.Request) // what is wrong with it
}

type answer struct {
	status int
	body   string
	took   time.Duration
	reused bool // the connection
}

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

func (a answer) String() string {
	s := fmt.Sprintf("answered %d in %d ms", a.status, a.took.Milliseconds())
	if a.status >= 300 && a.status < 400 {
		s += ", a redirect"
	}
	if !a.ok() && a.body != "" {
		s += fmt.Sprintf(": %.120q", a.body)
	}
	return s
}

// post sends p, and gives the answer.
func (s *session) post(ctx context.Context, p post) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	s.mu.Lock()
	s.posts++
	if p.id == "" {
		p.id = fmt.Sprintf("msg_%s%04d", s.run, s.posts)
	}
	s.mu.Unlock()
	if p.secrets == nil {
		p.secrets = []string{s.o.Secret}
	}
	at := time.Now().Add(-p.age)
	var signatures []string
	for _, secret := range p.secrets {
		signature, err := events.Sign(secret, p.id, at, p.Body)
		if err != nil {
			return a, err
		}
		signatures = append(signatures, signature)
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { a.reused = c.Reused },
	}), http.MethodPost, s.o.URL, bytes.NewReader(p.Body))
	if err != nil {
		return a, err
	}
	req.Header.Set("User-Agent", "Loa/"+s.o.Version)
	req.Header.Set("Content-Type", p.ContentType)
	req.Header.Set(events.HeaderID, p.id)
	req.Header.Set(events.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(events.HeaderSignature, strings.Join(signatures, " "))
	if p.spoil != nil {
		p.spoil(req)
	}
	began := time.Now()
	resp, err := s.client.Do(req)
	a.took = time.Since(began)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(io.LimitReader(resp.Body, answerBytes))
		resp.Body.Close()
		a.status, a.body = resp.StatusCode, strings.TrimSpace(string(body))
		a.took = time.Since(began)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowest = max(s.slowest, a.took)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			s.timeout = true
			return a, fmt.Errorf("did not answer within %v", s.o.Timeout)
		}
		return a, err
	}
	s.last = a.String()
	return a, nil
}

// taken sends p, which is to be answered 2xx.
func (s *session) taken(ctx context.Context, p post) error {
	a, err := s.post(ctx, p)
	if err == nil && !a.ok() {
		err = errors.New(a.String())
	}
	return err
}

// refused sends p, which is not to be answered 2xx.
func (s *session) refused(ctx context.Context, p post) error {
	a, err := s.post(ctx, p)
	if err == nil && a.ok() {
		err = errors.New(a.String())
	}
	return err
}

// told sends articles in the order given, each of which is to be answered 2xx.
func (s *session) told(ctx context.Context, as ...*article.Article) error {
	for _, a := range as {
		if err := s.tell(ctx, a, post{}); err != nil {
			return err
		}
	}
	return nil
}

// tell sends an article as p has it, and notes that it is to be withdrawn in the end.
func (s *session) tell(ctx context.Context, a *article.Article, p post) error {
	d, err := bulletin.Render(a, testSite, s.o.Form)
	if err != nil {
		return err
	}
	if p.Body == nil {
		p.Document = d
	}
	s.note(a)
	if err := s.taken(ctx, p); err != nil {
		return fmt.Errorf("version %s of the article: %w", a.Version, err)
	}
	return nil
}

// note has an article withdrawn in the end.
func (s *session) note(a *article.Article) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if had := s.sent[a.GUID]; had == nil || had.Compare(a.Version) < 0 {
		s.sent[a.GUID] = a
	}
}

// testSite does not exist.
var testSite = site.Site{ID: "loa-check", Name: "Loa kiểm tra", URL: "https://loa-check.example/"}

// article is a version of an article of this run.
func (s *session) article(name string, version int64) *article.Article {
	id := s.run + "-" + name
	now := time.Now().Truncate(time.Second)
	return &article.Article{
		GUID: article.NewGUID(testSite.ID, id), Site: testSite.ID, ID: id, Version: article.Version{Number: version}, Status: events.StatusLive,
		URL: testSite.URL + id, Title: fmt.Sprintf("Tin kiểm tra, bản %d: xin bỏ qua", version), Summary: "Loa kiểm tra nơi nhận tin. Tin này sẽ được thu hồi.",
		Body: "<p>Loa kiểm tra nơi nhận tin.</p>", Language: "vi", Urgency: 5,
		Categories: []events.Category{{ID: "kiem-tra", Label: "Kiểm tra"}}, Published: now, Updated: now, Accepted: now,
	}
}

// withdrawal is a version by which an article of this run goes.
func (s *session) withdrawal(name string, version int64) *article.Article {
	return withdrawn(s.article(name, version))
}

func withdrawn(a *article.Article) *article.Article {
	b := *a
	b.Status, b.Summary, b.Body, b.Correction = events.StatusWithdrawn, "", "", ""
	b.Withdrawal = &events.BulletinWithdrawal{Reason: "Kiểm tra xong.", WithdrawnAt: b.Updated}
	return &b
}

func (s *session) ping() post {
	return jsonPost(events.Bulletin{Type: events.BulletinPing, Timestamp: time.Now()})
}

func jsonPost(v any) post {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is ours
	}
	return post{Document: bulletin.Document{Body: body, ContentType: events.JSONType}}
}
