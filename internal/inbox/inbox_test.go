package inbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/inbox"
	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	ward, other = "phuong-cau-go", "quan-ben-song"
	slowRate    = 0.01 // events a second: spent by the first batch
)

// desk is an inbox over a real NATS, and CMSs that may use it.
type desk struct {
	t      *testing.T
	nats   *embedded.NATS
	js     jetstream.JetStream
	url    string
	key    string // for ward
	slow   string // for ward, at slowRate
	secret string // of the CMS "ky-ten", for ward
}

func open(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, secret: events.NewSecret()}
	d.nats, d.js = loatest.ServedNATS(t)
	tree, err := site.New([]site.Site{{ID: other}, {ID: ward, Parent: other}})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := keys.Open(t.Context(), d.js, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	add := func(k keys.Key) string {
		_, text, err := registry.Add(t.Context(), k, tree, "test")
		if err != nil {
			t.Fatal(err)
		}
		return text.Reveal()
	}
	d.key = add(keys.Key{Kind: keys.KindCMS, Name: "CMS", Sites: []string{ward}})
	d.slow = add(keys.Key{Kind: keys.KindCMS, Name: "Chậm", Sites: []string{ward}, Rate: slowRate})
	in, err := inbox.New(inbox.Options{JS: d.js, Keys: registry, Sites: tree, Log: zerolog.Nop(), Rate: 10_000, Wait: 3 * time.Second,
		CMSs: []inbox.CMS{{Name: "ky-ten", Secrets: []string{d.secret}, Sites: []string{ward, "khong-co"}}}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(in)
	t.Cleanup(srv.Close)
	d.url = srv.URL + inbox.Path
	return d
}

func article(id string, version int64) events.Event {
	return events.NewPublished("https://cms.example.vn", events.Article{Site: ward, ID: id, Version: version, URL: "https://caugo.example.vn/" + id,
		Title: "Lịch cắt nước", Body: "<p>Từ tám giờ tối.</p>", Published: time.Date(2026, 11, 24, 8, 30, 0, 0, time.UTC)})
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// answer is what the inbox said.
type answer struct {
	Status int
	Header http.Header
	Detail string
	Errors []struct{ Field, Value, Expected string }
	Total  int
	Stored []struct {
		ID        string
		Sequence  uint64
		Duplicate bool
	}
}

func (a answer) fields() string {
	var all []string
	for _, e := range a.Errors {
		all = append(all, e.Field)
	}
	return strings.Join(all, " ")
}

func (d *desk) do(req *http.Request) answer {
	d.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	a := answer{Status: resp.StatusCode, Header: resp.Header}
	if req.Method != http.MethodHead {
		if err := json.Unmarshal(body, &a); err != nil {
			d.t.Fatalf("answer %d is no JSON: %s", resp.StatusCode, body)
		}
	}
	a.Status = resp.StatusCode
	if media := resp.Header.Get("Content-Type"); (a.Status == http.StatusAccepted) != (media == "application/json") || a.Status != http.StatusAccepted && media != "application/problem+json" {
		d.t.Errorf("answer %d has the type %s", a.Status, media)
	}
	return a
}

// post sends a body with a key, and headers in pairs.
func (d *desk) post(key, media string, body []byte, header ...string) answer {
	d.t.Helper()
	req, err := http.NewRequest(http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return d.do(req)
}

const structuredType, batchType = "application/cloudevents+json", "application/cloudevents-batch+json"

// postSigned sends a body as a CMS does that signs; over is what it signs.
func (d *desk) postSigned(secret, cms string, at time.Time, over, body []byte) answer {
	d.t.Helper()
	sum, err := events.Sign(secret, "msg-1", at, over)
	if err != nil {
		d.t.Fatal(err)
	}
	plain := d.url
	defer func() { d.url = plain }()
	d.url += "?cms=" + cms
	return d.post("", structuredType, body, events.HeaderID, "msg-1", events.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10), events.HeaderSignature, sum)
}

// stored is how many events the log of events holds.
func (d *desk) stored() uint64 {
	d.t.Helper()
	s, err := d.js.Stream(d.t.Context(), streams.Events)
	if err != nil {
		d.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestInbox(t *testing.T) {
	t.Parallel()
	d := open(t)
	ctx := t.Context()

	t.Run("stores an event before it says so", func(t *testing.T) {
		e := article("tin-1", 1)
		a := d.post(d.key, structuredType, encode(t, e))
		if a.Status != http.StatusAccepted || len(a.Stored) != 1 || a.Stored[0].ID != e.ID || a.Stored[0].Duplicate {
			t.Fatalf("%+v", a)
		}
		s, err := d.js.Stream(ctx, streams.Events)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.GetMsg(ctx, a.Stored[0].Sequence)
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.Parse(m.Header, m.Data)
		if err != nil || got.Digest != e.Digest || got.ID != e.ID || m.Subject != events.Subject(ward, "tin-1") {
			t.Errorf("stored on %s: %+v, %v", m.Subject, got, err)
		}
	})
	t.Run("stores a repeat once", func(t *testing.T) {
		before := d.stored()
		a := d.post(d.key, structuredType, encode(t, article("tin-1", 1)))
		if a.Status != http.StatusAccepted || !a.Stored[0].Duplicate || d.stored() != before {
			t.Errorf("%+v", a)
		}
	})
	t.Run("does not take another event for a repeat", func(t *testing.T) {
		e := article("tin-1", 2)
		e.ID = article("tin-1", 1).ID
		if a := d.post(d.key, structuredType, encode(t, e)); a.Status != http.StatusConflict || a.fields() != "/id" {
			t.Errorf("%+v", a)
		}
		e = article("tin-2", 1) // another article: some CMSs count within one
		e.ID = article("tin-1", 1).ID
		if a := d.post(d.key, structuredType, encode(t, e)); a.Status != http.StatusAccepted || a.Stored[0].Duplicate {
			t.Errorf("%+v", a)
		}
	})
	t.Run("takes what the CloudEvents SDK sends", func(t *testing.T) {
		client, err := cehttp.New(cehttp.WithTarget(d.url), cehttp.WithHeader("Authorization", "Bearer "+d.key))
		if err != nil {
			t.Fatal(err)
		}
		for mode, in := range map[string]context.Context{"structured": binding.WithForceStructured(ctx), "binary": binding.WithForceBinary(ctx)} {
			e := sdkEvent(t, "sdk-"+mode)
			if err := client.Send(in, binding.ToMessage(&e)); !protocol.IsACK(err) {
				t.Errorf("%s: %v", mode, err)
			}
		}
		req, err := cehttp.NewHTTPRequestFromEvents(ctx, d.url, []cloudevents.Event{sdkEvent(t, "sdk-1"), sdkEvent(t, "sdk-2"), sdkEvent(t, "sdk-3")})
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+d.key)
		if a := d.do(req); a.Status != http.StatusAccepted || len(a.Stored) != 3 {
			t.Errorf("batch: %+v", a)
		}
	})
	t.Run("takes a batch or refuses it, with every fault", func(t *testing.T) {
		before := d.stored()
		bad := encode(t, article("tin-4", 1))
		bad = bytes.Replace(bad, []byte(`"version":1`), []byte(`"version":-3,"versoin":1`), 1)
		list := []json.RawMessage{encode(t, article("tin-3", 1)), bad, encode(t, article("tin-5", 0))}
		a := d.post(d.key, batchType, encode(t, list))
		if a.Status != http.StatusUnprocessableEntity || a.fields() != "/1/data/version /1/data/versoin /2/data/version" || d.stored() != before {
			t.Errorf("%+v", a)
		}
		if a.Errors[0].Value != "-3" || !strings.Contains(a.Errors[0].Expected, "from 1 to") {
			t.Errorf("%+v", a.Errors)
		}
		for _, body := range []string{"", "{}", "[]", "[1", "[{}", "[] []", `[{"a":1}] x`, "[" + strings.Repeat("[", 20000), "null", "\xff"} {
			if a := d.post(d.key, batchType, []byte(body)); a.Status != http.StatusUnprocessableEntity || len(a.Errors) == 0 {
				t.Errorf("%.20q: %+v", body, a)
			}
		}
		many := "[" + strings.Repeat("{},", inbox.MaxBatch) + "{}]"
		if a := d.post(d.key, batchType, []byte(many)); a.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("%+v", a)
		}
		if a := d.post(d.key, batchType, []byte(many[:len(many)-4]+"]")); a.Status != http.StatusUnprocessableEntity || a.Total <= len(a.Errors) || len(a.Errors) != events.MaxFaults {
			t.Errorf("%d errors of %d", len(a.Errors), a.Total)
		}
	})
	t.Run("stores nothing of a batch that contradicts itself", func(t *testing.T) {
		one, other := article("tin-20", 1), article("tin-20", 2)
		other.ID = one.ID
		before := d.stored()
		if a := d.post(d.key, batchType, encode(t, []events.Event{one, one, other})); a.Status != http.StatusConflict || a.fields() != "/2/id" || len(a.Stored) != 0 || d.stored() != before {
			t.Errorf("%+v", a)
		}
		if a := d.post(d.key, batchType, encode(t, []events.Event{one, one})); a.Status != http.StatusAccepted || d.stored() != before+1 {
			t.Errorf("a repeat: %+v", a)
		}
	})
	t.Run("refuses strangers", func(t *testing.T) {
		body := encode(t, article("tin-6", 1))
		before := d.stored()
		for _, header := range [][]string{nil, {"Authorization", "Bearer "}, {"Authorization", "Basic eDp5"}, {"Authorization", "Bearer loa_aaaaaaaaaaaa_" + strings.Repeat("a", 52)}} {
			a := d.post("", structuredType, body, header...)
			if a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%v: %+v", header, a)
			}
		}
		if d.stored() != before {
			t.Error("something was stored")
		}
	})
	t.Run("keeps CMSs to their sites", func(t *testing.T) {
		foreign := article("tin-7", 1)
		foreign.Article.Site = other
		foreign.Subject = other + "/tin-7"
		if a := d.post(d.key, structuredType, encode(t, foreign)); a.Status != http.StatusForbidden || a.fields() != "/data/site" {
			t.Errorf("%+v", a)
		}
		if a := d.post(d.key, batchType, encode(t, []events.Event{article("tin-8", 1), foreign})); a.Status != http.StatusForbidden || a.fields() != "/1/data/site" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("takes signed requests", func(t *testing.T) {
		body := encode(t, article("tin-9", 1))
		if a := d.postSigned(d.secret, "ky-ten", time.Now(), body, body); a.Status != http.StatusAccepted {
			t.Errorf("%+v", a)
		}
		stranger, forged := d.postSigned(d.secret, "ai-do", time.Now(), body, body), d.postSigned(events.NewSecret(), "ky-ten", time.Now(), body, body)
		if stranger.Status != http.StatusUnauthorized || forged.Status != http.StatusUnauthorized || stranger.Detail != forged.Detail {
			t.Errorf("%+v and %+v", stranger, forged)
		}
		if a := d.postSigned(d.secret, "ky-ten", time.Now(), body[1:], body); a.Status != http.StatusUnauthorized {
			t.Errorf("%+v", a)
		}
		if a := d.postSigned(d.secret, "ky-ten", time.Now().Add(-time.Hour), body, body); a.Status != http.StatusUnauthorized || !strings.Contains(a.Detail, "too old") {
			t.Errorf("%+v", a)
		}
		gone := article("tin-10", 1)
		gone.Article.Site, gone.Subject = "khong-co", "khong-co/tin-10"
		body = encode(t, gone)
		if a := d.postSigned(d.secret, "ky-ten", time.Now(), body, body); a.Status != http.StatusUnprocessableEntity || a.fields() != "/data/site" {
			t.Errorf("a site that is not configured: %+v", a)
		}
	})
	t.Run("says what it takes", func(t *testing.T) {
		body := encode(t, article("tin-11", 1))
		for _, c := range []struct {
			media  string
			header []string
			want   string
		}{{"text/xml", nil, "Content-Type"}, {"", nil, "Content-Type"}, {structuredType, []string{"Content-Encoding", "gzip"}, "Content-Encoding"}} {
			if a := d.post(d.key, c.media, body, c.header...); a.Status != http.StatusUnsupportedMediaType || a.fields() != c.want {
				t.Errorf("%s %v: %+v", c.media, c.header, a)
			}
		}
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodOptions} {
			req, err := http.NewRequest(method, d.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if a := d.do(req); a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != http.MethodPost {
				t.Errorf("%s: %+v", method, a)
			}
		}
		if a := d.post(d.key, structuredType, append(make([]byte, inbox.MaxBody), ' ')); a.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("%+v", a)
		}
	})
	t.Run("holds a CMS to its rate", func(t *testing.T) {
		list := make([]events.Event, inbox.MaxBatch)
		for i := range list {
			list[i] = article(fmt.Sprint("nhanh-", i), 1)
		}
		if a := d.post(d.slow, batchType, encode(t, list)); a.Status != http.StatusAccepted || len(a.Stored) != inbox.MaxBatch {
			t.Fatalf("%d after %d of them: %s", a.Status, len(a.Stored), a.Detail)
		}
		a := d.post(d.slow, structuredType, encode(t, article("nhanh-nua", 1)))
		if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); a.Status != http.StatusTooManyRequests || err != nil || wait < 60 || wait > 100 {
			t.Errorf("%+v", a)
		}
	})

	// The last two leave nothing to work with.
	t.Run("says when the log is full", func(t *testing.T) {
		s, err := d.js.Stream(ctx, streams.Events)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxMsgs = int64(d.stored())
		if _, err := d.js.UpdateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		a := d.post(d.key, structuredType, encode(t, article("day", 1)))
		if a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" || !strings.Contains(a.Detail, "full") {
			t.Errorf("%+v", a)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("only after %s", took)
		}
	})
	t.Run("says when NATS is away", func(t *testing.T) {
		d.nats.Shutdown()
		body := encode(t, article("mat", 1))
		// By its key it would not be known who calls, while revocations cannot be told.
		byKey, signed := d.post(d.key, structuredType, body), d.postSigned(d.secret, "ky-ten", time.Now(), body, body)
		for _, a := range []answer{byKey, signed} {
			if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || len(a.Stored) != 0 {
				t.Errorf("%+v", a)
			}
		}
		d.js.Conn().Close() // or those who read the keys would wait for it
	})
}

// sdkEvent is an article as a CMS makes it with the CloudEvents SDK.
func sdkEvent(t *testing.T, id string) cloudevents.Event {
	t.Helper()
	e := cloudevents.New()
	e.SetID(id)
	e.SetSource("/cms")
	e.SetType(events.TypePublished)
	if err := e.SetData(cloudevents.ApplicationJSON, article(id, 1).Article); err != nil {
		t.Fatal(err)
	}
	return e
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte(`[{"id":"1"}]`))
	f.Add([]byte(`[{},[],1,"\ud800"]`))
	f.Add([]byte("[\xff]"))
	tree, err := site.New(nil)
	if err != nil {
		f.Fatal(err)
	}
	in, err := inbox.New(inbox.Options{Keys: anybody{}, Sites: tree, Log: zerolog.Nop(), Rate: 1e9})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req := httptest.NewRequest(http.MethodPost, inbox.Path, bytes.NewReader(body))
		req.Header.Set("Content-Type", batchType)
		req.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		in.ServeHTTP(w, req)
		if w.Code < 400 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}

// anybody knows every key, for no site.
type anybody struct{}

func (anybody) Verify(string, string) (keys.Key, error) { return keys.Key{Kind: keys.KindCMS}, nil }
