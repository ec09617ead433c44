package receiver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/net/html"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/receiver"
)

var secret = events.NewSecret()

func start(t *testing.T, o receiver.Options) (*receiver.Receiver, string) {
	t.Helper()
	o.Name, o.Secrets, o.Log = "Cổng Quận Đông", []string{secret}, zerolog.Nop()
	r, err := receiver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.Handler())
	t.Cleanup(func() {
		srv.Close()
		r.Close()
	})
	return r, srv.URL
}

// push posts a bulletin as Loa does, and gives the status.
func push(t *testing.T, url, id string, b events.Bulletin) int {
	t.Helper()
	body, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return pushAs(t, url, id, secret, time.Now(), body)
}

func pushAs(t *testing.T, url, id, secret string, at time.Time, body []byte) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/bulletins", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := events.Sign(secret, id, at, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(events.HeaderID, id)
	req.Header.Set(events.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(events.HeaderSignature, signature)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func bulletin(guid string, version, revision int64) events.Bulletin {
	at := time.Date(2026, 11, 20, 8, 30, 0, 0, time.FixedZone("", 7*60*60))
	return events.Bulletin{Type: events.BulletinPublished, Timestamp: at, Data: events.BulletinArticle{
		GUID: guid, Site: "ward", ID: guid, Version: version, Revision: revision, Status: events.StatusLive,
		Title: fmt.Sprintf("Chợ phiên mở lại, tin %d", version), Summary: "Chợ họp sáng chủ nhật.", URL: "https://anhoa.example/cho",
		SiteName: "Phường Cầu Gỗ", Published: at, Updated: at.Add(time.Hour),
	}}
}

func TestNewestVersionIsKeptHoweverBulletinsCome(t *testing.T) {
	r, url := start(t, receiver.Options{})
	for i, c := range []struct {
		version, revision int64
		id                string
	}{{2, 0, "msg_a"}, {2, 0, "msg_a"}, {1, 0, "msg_b"}, {2, 1, "msg_c"}, {2, 1, "msg_other"}, {2, 0, "msg_a"}} {
		if status := push(t, url, c.id, bulletin("g", c.version, c.revision)); status != 204 {
			t.Errorf("bulletin %d: %d", i, status)
		}
	}
	h, ok := r.Get("g")
	if d := h.Bulletin.Data; !ok || d.Version != 2 || d.Revision != 1 || h.WebhookID != "msg_c" {
		t.Errorf("holds %+v", h)
	}
	if c := r.Counts(); c != (receiver.Counts{Received: 6, Kept: 2, Duplicates: 2, Regressions: 2}) || r.Posts() != 6 {
		t.Errorf("counts %+v, %d posts", c, r.Posts())
	}
}

func TestBulletinWithoutAGoodSignatureIsRefused(t *testing.T) {
	r, url := start(t, receiver.Options{})
	resp, err := http.Post(url+"/bulletins", "application/json", strings.NewReader(`{"type":"article.published"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	body, err := json.Marshal(bulletin("g", 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	const minute = time.Minute
	for name, status := range map[string]int{
		"unsigned":       resp.StatusCode,
		"another secret": pushAs(t, url, "msg_a", events.NewSecret(), time.Now(), body),
		"played again":   pushAs(t, url, "msg_a", secret, time.Now().Add(-events.Tolerance-minute), body),
		"of the future":  pushAs(t, url, "msg_a", secret, time.Now().Add(events.Tolerance+minute), body),
	} {
		if status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if r.Counts().Received != 0 || len(r.Held()) != 0 {
		t.Errorf("counts %+v", r.Counts())
	}
}

func TestBulletinsAreThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bulletins.jsonl")
	_, url := start(t, receiver.Options{Dir: dir})
	push(t, url, "msg_a", bulletin("a", 1, 0))
	push(t, url, "msg_b", bulletin("a", 2, 0))
	push(t, url, "msg_c", bulletin("b", 1, 0))
	// What a crash may leave behind the last whole line, in turn.
	for _, torn := range []string{"", `{"bulletin":{"type":"art`, "\x00\x00\x00\n"} {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, torn)
		f.Close()
		r, url := start(t, receiver.Options{Dir: dir})
		if h, ok := r.Get("a"); !ok || h.Bulletin.Data.Version != 2 || len(r.Held()) != 2 {
			t.Fatalf("after %q: %+v", torn, r.Held())
		}
		push(t, url, "msg_b", bulletin("a", 2, 0))
		if c := r.Counts(); c.Duplicates != 1 {
			t.Errorf("after %q: a repeat was not known: %+v", torn, c)
		}
	}
}

func TestDamagedLedgerIsNotReadAsAnEmptyOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bulletins.jsonl"), []byte("not JSON\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := receiver.New(receiver.Options{Secrets: []string{secret}, Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got %v", err)
	}
}

func TestLedgerDoesNotGrowWithFormerVersions(t *testing.T) {
	dir := t.TempDir()
	var all bytes.Buffer
	for v := range int64(1500) {
		line, err := json.Marshal(receiver.Held{Bulletin: bulletin("g", v+1, 0), WebhookID: fmt.Sprint("msg_", v)})
		if err != nil {
			t.Fatal(err)
		}
		all.Write(append(line, '\n'))
	}
	file := filepath.Join(dir, "bulletins.jsonl")
	if err := os.WriteFile(file, all.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, url := start(t, receiver.Options{Dir: dir})
		if h, _ := r.Get("g"); h.Bulletin.Data.Version != 1500 {
			t.Fatalf("holds %+v", h)
		}
		push(t, url, "msg_more", bulletin("h", 1, 0))
		if data, err := os.ReadFile(file); err != nil || bytes.Count(data, []byte("\n")) != 2 {
			t.Errorf("%d lines, %v", bytes.Count(data, []byte("\n")), err)
		}
	}
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPageShowsWhatIsHeld(t *testing.T) {
	_, url := start(t, receiver.Options{})
	if _, page := get(t, url); !strings.Contains(page, "Chưa nhận được tin nào.") {
		t.Error("an empty portal does not say so")
	}
	b := bulletin("a", 3, 0)
	b.Data.Correction = "Giờ họp chợ đã sửa."
	b.Data.Image = &events.BulletinImage{Rendition: events.Rendition{URL: "http://loa.example/a.jpg", MediaType: "image/jpeg", Width: 640, Height: 360},
		Alt: "Chợ Mới", Credit: "Minh An", Renditions: []events.Rendition{{URL: "http://loa.example/w320.webp", MediaType: "image/webp", Width: 320}}}
	push(t, url, "msg_a", b)
	gone := bulletin("b", 2, 0)
	gone.Type, gone.Data.Status, gone.Data.Title = events.BulletinWithdrawn, events.StatusWithdrawn, "Cắt nước đêm 21/11"
	gone.Data.Withdrawal = &events.BulletinWithdrawal{Reason: "Đã hoãn.", WithdrawnAt: b.Timestamp}
	push(t, url, "msg_b", gone)
	whole, large := bulletin("c", 1, 0), bulletin("d", 1, 0)
	whole.Data.Body, whole.Data.Attachments, large.Data.BodyOmitted = "<p>Chợ họp</p>", []events.Attachment{{}}, true
	push(t, url, "msg_c", whole)
	push(t, url, "msg_d", large)

	resp, page := get(t, url)
	for _, want := range []string{
		`<html lang="vi">`, "Cổng Quận Đông", "Chợ phiên mở lại, tin 3", `href="https://anhoa.example/cho"`, "Chợ họp sáng chủ nhật.",
		"Phường Cầu Gỗ", "20/11/2026 08:30", "20/11/2026 09:30", `alt="Chợ Mới"`, "http://loa.example/w320.webp 320w", "Minh An",
		"Giờ họp chợ đã sửa.", "<del><bdi>Cắt nước đêm 21/11</bdi></del>", "Đã hoãn.", "Đã nhận 4 bản tin",
		"Nhận toàn văn: 18 byte HTML, 1 tệp kèm", "Toàn văn quá dài để gửi",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	if resp, css := get(t, url+"/style.css"); resp.Header.Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(css, "prefers-color-scheme: dark") {
		t.Error("no style sheet")
	}
	var list struct{ Bulletins []receiver.Held }
	if _, body := get(t, url+"/bulletins.json"); json.Unmarshal([]byte(body), &list) != nil || len(list.Bulletins) != 4 {
		t.Errorf("list %s", body)
	}
}

func TestPageRunsNothingThatABulletinBrings(t *testing.T) {
	_, url := start(t, receiver.Options{})
	b := bulletin("a", 1, 0)
	b.Data.Title = `<script>alert(1)</script>"><img src=x onerror=alert(1)>`
	b.Data.Summary, b.Data.SiteName, b.Data.Correction = b.Data.Title, b.Data.Title, b.Data.Title
	b.Data.Language = `vi" onload="alert(1)`
	b.Data.URL = "javascript:alert(1)"
	b.Data.Image = &events.BulletinImage{Rendition: events.Rendition{URL: "data:image/svg+xml,<svg onload=alert(1)>"}}
	push(t, url, "msg_a", b)
	c := bulletin("b", 1, 0)
	c.Data.Image = &events.BulletinImage{Rendition: events.Rendition{URL: "https://a.example/x.jpg"}, Alt: `" onerror="alert(1)`,
		Renditions: []events.Rendition{{URL: `https://a.example/x" onerror="alert(1)`, MediaType: "image/webp", Width: 1}}}
	push(t, url, "msg_b", c)
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	doc, err := html.Parse(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	articles := 0
	for n := range doc.Descendants() {
		if n.Data == "article" {
			articles++
		}
		if n.Type == html.ElementNode && n.Data == "script" {
			t.Error("a script element")
		}
		for _, attr := range n.Attr {
			scheme, _, _ := strings.Cut(attr.Val, ":")
			if strings.HasPrefix(attr.Key, "on") || (attr.Key == "href" || attr.Key == "src") && (scheme == "javascript" || scheme == "data") {
				t.Errorf("%s=%q in <%s>", attr.Key, attr.Val, n.Data)
			}
		}
	}
	if articles != 2 {
		t.Errorf("%d articles", articles)
	}
}

func TestPagesFollowEachOther(t *testing.T) {
	_, url := start(t, receiver.Options{})
	for i := range 35 {
		push(t, url, fmt.Sprint("msg_", i), bulletin(fmt.Sprint(i), 1, 0))
	}
	for query, want := range map[string]int{"": 30, "?trang=2": 5, "?trang=99": 5, "?trang=-1": 30, "?trang=x": 30} {
		if _, page := get(t, url+"/"+query); strings.Count(page, "<article") != want {
			t.Errorf("%q: %d articles, expected %d", query, strings.Count(page, "<article"), want)
		}
	}
}

func TestFaultsHappenBeforeOrAfterTheBulletinIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		fault *receiver.Fault
		kept  int
	}{
		"refused":           {receiver.Status(500, "lỗi"), 0},
		"kept, then failed": {receiver.Status(500, "lỗi").Kept(), 1},
	} {
		r, url := start(t, receiver.Options{Answer: func(int, *http.Request) *receiver.Fault { return c.fault }})
		if status := push(t, url, "msg_a", bulletin("a", 1, 0)); status != 500 || r.Counts().Kept != c.kept {
			t.Errorf("%s: status %d, counts %+v", name, status, r.Counts())
		}
	}
}

func TestWhatIsNoBulletinIsRefused(t *testing.T) {
	r, url := start(t, receiver.Options{})
	for body, want := range map[string]int{
		"x": http.StatusBadRequest,
		`{"type":"article.published","data":{"guid":""}}`: http.StatusBadRequest,
		strings.Repeat(" ", events.MaxBulletinBytes+1):    http.StatusRequestEntityTooLarge,
		`{"type":"loa.ping"}`:                             http.StatusNoContent,
		`{"type":"of a newer Loa"}`:                       http.StatusNoContent,
	} {
		if status := pushAs(t, url, "msg_a", secret, time.Now(), []byte(body)); status != want {
			t.Errorf("%.40q: status %d, expected %d", body, status, want)
		}
	}
	if resp, _ := get(t, url+"/bulletins"); resp.StatusCode != http.StatusMethodNotAllowed || len(r.Held()) != 0 {
		t.Errorf("status %d for GET, holds %+v", resp.StatusCode, r.Held())
	}
}

// What each scripted fault looks like to a client that gives up when it likes.
func TestScriptedFaults(t *testing.T) {
	read := func(f *receiver.Fault, n int64) (resp *http.Response, body string, err error) {
		t.Helper()
		_, url := start(t, receiver.Options{Answer: func(int, *http.Request) *receiver.Fault { return f }})
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/bulletins", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if resp, err = http.DefaultTransport.RoundTrip(req); err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(io.LimitReader(resp.Body, n))
		return resp, string(got), err
	}
	if resp, body, err := read(receiver.Status(429, "chậm lại", "Retry-After", "7"), 100); err != nil || resp.StatusCode != 429 ||
		resp.Header.Get("Retry-After") != "7" || body != "chậm lại" {
		t.Errorf("status: %v %q %v", resp, body, err)
	}
	if resp, _, err := read(receiver.Redirect("http://other.example/"), 100); err != nil || resp.StatusCode != 307 || resp.Header.Get("Location") != "http://other.example/" {
		t.Errorf("redirect: %v %v", resp, err)
	}
	if _, _, err := read(receiver.Hang(), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hang: %v", err)
	}
	if resp, body, err := read(receiver.Drip(500, time.Millisecond), 3); err != nil || resp.StatusCode != 500 || body != "..." {
		t.Errorf("drip: %v %q %v", resp, body, err)
	}
	if resp, body, err := read(receiver.Endless(200), 1<<20); err != nil || resp.StatusCode != 200 || len(body) != 1<<20 {
		t.Errorf("endless: %v, %d bytes, %v", resp, len(body), err)
	}
	if _, _, err := read(receiver.Raw("HTTP/1.1 204 No Content\r\nDate: "), 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half an answer: %v", err)
	}
}
