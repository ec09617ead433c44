package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/embedded"
)

func startS3(t testing.TB) *embedded.S3 {
	t.Helper()
	s, err := embedded.StartS3(t.Context(), embedded.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func options(s *embedded.S3, endpoint string) Options {
	login := s.Credentials()
	return Options{Endpoint: endpoint, AccessKey: login.Name, SecretKey: login.Secret.Reveal(), Bucket: "loa"}
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s := startS3(t)
	return open(t, options(s, s.Endpoint()))
}

func mustPut(t testing.TB, s *Store, key, body string, meta Meta) (etag string) {
	t.Helper()
	etag, err := s.Put(t.Context(), key, []byte(body), meta)
	if err != nil {
		t.Fatal(err)
	}
	return etag
}

func keys(t testing.TB, s *Store, prefix string) (keys []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func TestOpenMakesTheBucketAndLeavesNothingInIt(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	for range 2 {
		s := open(t, options(s3, s3.Endpoint()))
		if got := keys(t, s, ""); len(got) != 0 {
			t.Errorf("the bucket holds %q", got)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	good := options(s3, s3.Endpoint())
	for name, change := range map[string]func(*Options){
		"SignatureDoesNotMatch": func(o *Options) { o.SecretKey = "guess" },
		"InvalidAccessKeyId":    func(o *Options) { o.AccessKey = "somebody" },
		"bucket name":           func(o *Options) { o.Bucket = "L" },
		"endpoint":              func(o *Options) { o.Endpoint = "not an endpoint" },
	} {
		o := good
		change(&o)
		_, err := Open(t.Context(), o)
		if err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestObjectComesBackAsItWent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	meta := Meta{
		ContentType:     "application/rss+xml; charset=utf-8",
		CacheControl:    "public, max-age=300",
		ContentEncoding: "gzip",
		User:            map[string]string{"version": "7.1", "digest": strings.Repeat("0", 64)},
	}
	for name, body := range map[string][]byte{"empty": {}, "small": []byte("Tin vắn"), "large": bytes.Repeat([]byte("phường An Khánh\n"), 1<<20)} {
		key := "feeds/an-khanh/" + name
		etag, err := s.Put(t.Context(), key, body, meta)
		if err != nil {
			t.Fatal(err)
		}
		o, err := s.Get(t.Context(), key, int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		stat, err := s.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(o.Body, body) {
			t.Errorf("%s: %d bytes of %d, or other ones", name, len(o.Body), len(body))
		}
		for _, info := range []Info{o.Info, stat} {
			if info.Key != key || info.ETag != etag || etag == "" || info.Size != int64(len(body)) || info.Modified.IsZero() {
				t.Errorf("%s: %+v, want ETag %q", name, info, etag)
			}
			if info.ContentType != meta.ContentType || info.CacheControl != meta.CacheControl ||
				info.ContentEncoding != meta.ContentEncoding || !maps.Equal(info.User, meta.User) {
				t.Errorf("%s: metadata %+v", name, info.Meta)
			}
		}
	}
}

func TestPutReplaces(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := mustPut(t, s, "a/b", "một", Meta{User: map[string]string{"old": "1"}})
	second := mustPut(t, s, "a/b", "hai", Meta{})
	o, err := s.Get(t.Context(), "a/b", 100)
	if err != nil || string(o.Body) != "hai" || o.ETag != second || first == second || o.User != nil {
		t.Errorf("%q %+v, %v", o.Body, o.Info, err)
	}
}

func TestPutIfHappensOnlyWhenTheConditionHolds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	put := func(body string, c Condition) (string, error) {
		return s.PutIf(t.Context(), "index", []byte(body), Meta{}, c)
	}
	if _, err := put("0", IfMatch("0123")); !errors.Is(err, ErrPrecondition) {
		t.Errorf("IfMatch without an object: %v", err)
	}
	first, err := put("1", IfAbsent())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put("x", IfAbsent()); !errors.Is(err, ErrPrecondition) {
		t.Errorf("IfAbsent with an object: %v", err)
	}
	second, err := put("2", IfMatch(first))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put("x", IfMatch(first)); !errors.Is(err, ErrPrecondition) {
		t.Errorf("IfMatch with a former ETag: %v", err)
	}
	if _, err := put("x", IfMatch("")); err == nil {
		t.Error("a condition without an ETag was taken")
	}
	if o, err := s.Get(t.Context(), "index", 10); err != nil || string(o.Body) != "2" || o.ETag != second {
		t.Errorf("%q %s, %v", o.Body, o.ETag, err)
	}
}

func TestMissingObject(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if _, err := s.Get(t.Context(), "no/such", 10); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no/such") {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Stat(t.Context(), "no/such"); !errors.Is(err, ErrNotFound) {
		t.Errorf("stat: %v", err)
	}
	if _, _, err := s.Reader(t.Context(), "no/such"); !errors.Is(err, ErrNotFound) {
		t.Errorf("reader: %v", err)
	}
	if err := s.Delete(t.Context(), "no/such"); err != nil {
		t.Errorf("delete: %v", err)
	}
	mustPut(t, s, "a/b", "x", Meta{})
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "a/b", 10); !errors.Is(err, ErrNotFound) {
		t.Errorf("get after delete: %v", err)
	}
}

func TestGetRefusesBodiesAboveTheLimit(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustPut(t, s, "a", "12345", Meta{})
	if _, err := s.Get(t.Context(), "a", 4); !errors.Is(err, ErrTooLarge) {
		t.Errorf("5 bytes of 4: %v", err)
	}
	if _, err := s.Put(t.Context(), "a", make([]byte, MaxBody+1), Meta{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("put beyond MaxBody: %v", err)
	}
}

func TestListGoesThroughAPrefixInOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	want := []string{"a/1", "a/2/x", "a/2/y", "a/3"}
	for _, key := range append([]string{"ab", "b/1"}, want...) {
		mustPut(t, s, key, "thân bài", Meta{})
	}
	if got := keys(t, s, "a/"); !slices.Equal(got, want) {
		t.Errorf("listed %q", got)
	}
	for info, err := range s.List(t.Context(), "a/") {
		if err != nil || info.Size != int64(len("thân bài")) || info.ETag == "" || info.Modified.IsZero() {
			t.Errorf("%+v, %v", info, err)
		}
		break // ends it without harm
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.List(ctx, "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("listing without a context: %v", err)
		}
	}
}

func TestListGoesBeyondOnePage(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const n = 1001 // a page holds 1,000
	work := make(chan int, n)
	for i := range n {
		work <- i
	}
	close(work)
	done := make(chan error)
	for range 16 {
		go func() {
			var err error
			for i := range work {
				if _, e := s.Put(t.Context(), fmt.Sprintf("p/%04d", i), nil, Meta{}); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	for range 16 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if got := keys(t, s, "p/"); len(got) != n || !slices.IsSorted(got) {
		t.Errorf("listed %d", len(got))
	}
}

func TestKeysThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, key := range []string{"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\x00b", "a\nb", "\xff", " ", "a ",
		strings.Repeat("x", 256), strings.Repeat("x/", 512) + "x"} {
		if _, err := s.Put(t.Context(), key, nil, Meta{}); !errors.Is(err, ErrKey) {
			t.Errorf("put %.20q: %v", key, err)
		}
		if _, err := s.Get(t.Context(), key, 1); !errors.Is(err, ErrKey) {
			t.Errorf("get %.20q: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); !errors.Is(err, ErrKey) {
			t.Errorf("delete %.20q: %v", key, err)
		}
	}
	for _, key := range []string{"a", "articles/Ủy ban.json", "a b+c%2F&?#=", strings.Repeat("x", 255), "...", ".a"} {
		mustPut(t, s, key, key, Meta{})
		if o, err := s.Get(t.Context(), key, 300); err != nil || string(o.Body) != key {
			t.Errorf("get %.20q: %q, %v", key, o.Body, err)
		}
	}
}

func TestMetadataThatWouldChangeIsRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for name, meta := range map[string]Meta{
		"line break":    {ContentType: "text/plain\r\nX-Amz-Acl: public-read"},
		"not ASCII":     {User: map[string]string{"title": "Tin vắn"}},
		"capitals":      {User: map[string]string{"Title": "x"}},
		"header":        {User: map[string]string{"x-amz-acl": "public-read"}},
		"space around":  {User: map[string]string{"title": " x"}},
		"over 2 KiB":    {User: map[string]string{"title": strings.Repeat("x", 2048)}},
		"empty name":    {User: map[string]string{"": "x"}},
		"control":       {CacheControl: "a\x00"},
		"name with dot": {User: map[string]string{"a.b": "x"}},
	} {
		if _, err := s.Put(t.Context(), "a", nil, meta); !errors.Is(err, ErrMeta) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckedKeysAreStoredUnderTheirName(f *testing.F) {
	for _, key := range []string{"a/b", "a//b", "..", "Tin vắn", "%2e%2e/x", "a\\b", " a ", "+", ".sgwtmp/x"} {
		f.Add(key)
	}
	s := newStore(f)
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil || strings.HasPrefix(key, ".sgwtmp") { // the embedded server's own
			return
		}
		want := rand.Text()
		if _, err := s.Put(t.Context(), key, []byte(want), Meta{}); err != nil {
			t.Fatalf("put %q: %v", key, err)
		}
		o, err := s.Get(t.Context(), key, 100)
		if err != nil || string(o.Body) != want {
			t.Errorf("get %q: %q, %v", key, o.Body, err)
		}
		if got := keys(t, s, key); !slices.Contains(got, key) {
			t.Errorf("listed %q for %q", got, key)
		}
		if err := s.Delete(t.Context(), key); err != nil { // room for keys below it
			t.Errorf("delete %q: %v", key, err)
		}
	})
}

func TestReaderServesRanges(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	body := strings.Repeat("0123456789", 10_000)
	etag := mustPut(t, s, "media/a/w320.webp", body, Meta{ContentType: "image/webp"})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reader, info, err := s.Reader(r.Context(), "media/a/w320.webp")
		if err != nil {
			t.Error(err)
			return
		}
		defer reader.Close()
		w.Header().Set("ETag", `"`+info.ETag+`"`)
		w.Header().Set("Content-Type", info.ContentType)
		http.ServeContent(w, r, "", info.Modified, reader)
	}))
	defer web.Close()
	for _, c := range []struct {
		header, value string
		status        int
		body          string
	}{
		{"Accept", "*/*", 200, body},
		{"Range", "bytes=5-14", 206, "5678901234"},
		{"Range", "bytes=-3", 206, "789"},
		{"Range", "bytes=99995-", 206, "56789"},
		{"Range", "bytes=100000-", 416, ""},
		{"If-None-Match", `"` + etag + `"`, 304, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(c.header, c.value)
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || c.status < 300 && string(got) != c.body {
			t.Errorf("%s: %s: %d, %d bytes, %v", c.header, c.value, resp.StatusCode, len(got), err)
		}
	}
}

func TestReaderDoesNotMixTwoStates(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustPut(t, s, "a", "0123456789", Meta{})
	r, _, err := s.Reader(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	half := make([]byte, 5)
	if _, err := io.ReadFull(r, half); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "a", "abcdefghij", Meta{})
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "56789" {
		t.Errorf("reading on: %q, %v", rest, err)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, ErrPrecondition) {
		t.Errorf("reading again: %v", err)
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("it went to before the beginning")
	}
}
