package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/versity/versitygw/backend/posix"
)

const bucket = "loa"

func startS3(t testing.TB, o S3Options) *S3 {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := StartS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func client(t testing.TB, endpoint string, login Login) minio.Core {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := minio.NewCore(endpoint, &minio.Options{
		Creds:      credentials.NewStaticV4(login.Name, login.Secret.Reveal(), ""),
		Region:     Region,
		Transport:  transport,
		MaxRetries: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return *c
}

func newBucket(t testing.TB, s *S3) minio.Core {
	t.Helper()
	c := client(t, s.Endpoint(), s.Credentials())
	if err := c.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// put uses the client as anybody would: with a chunked signature.
func put(ctx context.Context, c minio.Core, key, body string, opts minio.PutObjectOptions) error {
	_, err := c.Client.PutObject(ctx, bucket, key, strings.NewReader(body), int64(len(body)), opts)
	return err
}

func get(ctx context.Context, c minio.Core, key string) (string, minio.ObjectInfo, error) {
	r, info, _, err := c.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return "", info, err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	return string(body), info, err
}

func list(t testing.TB, c minio.Core) (keys []string) {
	t.Helper()
	for o := range c.ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func code(err error) string { return minio.ToErrorResponse(err).Code }

func TestS3KeepsMetadataAsGiven(t *testing.T) {
	t.Parallel()
	c := newBucket(t, startS3(t, S3Options{}))
	for name, opts := range map[string]minio.PutObjectOptions{
		"plain": {ContentType: "text/html; charset=utf-8", CacheControl: "public, max-age=60",
			UserMetadata: map[string]string{"version": "7", "long": strings.Repeat("x", 1900)}},
		"gzip": {ContentType: "application/rss+xml", ContentEncoding: "gzip"},
	} {
		if err := put(t.Context(), c, name, "thân bài", opts); err != nil {
			t.Fatal(err)
		}
		body, info, err := get(t.Context(), c, name)
		if err != nil || body != "thân bài" {
			t.Errorf("%s: body %q, %v", name, body, err)
		}
		if got := info.Metadata.Get("Content-Encoding"); got != opts.ContentEncoding {
			t.Errorf("%s: Content-Encoding is %q", name, got)
		}
		if info.ContentType != opts.ContentType || info.Metadata.Get("Cache-Control") != opts.CacheControl {
			t.Errorf("%s: %q, %q", name, info.ContentType, info.Metadata.Get("Cache-Control"))
		}
		for k, v := range opts.UserMetadata {
			if got := info.Metadata.Get("X-Amz-Meta-" + k); got != v {
				t.Errorf("%s: %s is %q", name, k, got)
			}
		}
	}
}

func TestS3ConditionalPutsHaveOneWinner(t *testing.T) {
	t.Parallel()
	c := newBucket(t, startS3(t, S3Options{}))
	const writers = 16
	race := func(condition func(*minio.PutObjectOptions)) (winner string) {
		t.Helper()
		var wg sync.WaitGroup
		wins := make(chan string, writers)
		for i := range writers {
			wg.Go(func() {
				var opts minio.PutObjectOptions
				condition(&opts)
				body := rand.Text() + strconv.Itoa(i) // the ETag is of the body: no two may be alike
				switch err := put(t.Context(), c, "index", body, opts); {
				case err == nil:
					wins <- body
				case code(err) != minio.PreconditionFailed:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(wins) != 1 {
			t.Fatalf("%d winners", len(wins))
		}
		return <-wins
	}
	winner := race(func(o *minio.PutObjectOptions) { o.SetMatchETagExcept("*") })
	for range 5 {
		body, info, err := get(t.Context(), c, "index")
		if err != nil || body != winner {
			t.Fatalf("body %q, %v; the winner wrote %q", body, err, winner)
		}
		winner = race(func(o *minio.PutObjectOptions) { o.SetMatchETag(info.ETag) })
	}
}

func TestS3MultipartUploads(t *testing.T) {
	t.Parallel()
	c := newBucket(t, startS3(t, S3Options{}))
	body := bytes.Repeat([]byte("mười hai "), 1<<20) // two parts of at least 5 MiB
	_, err := c.Client.PutObject(t.Context(), bucket, "media/a/original.jpg", bytes.NewReader(body), int64(len(body)),
		minio.PutObjectOptions{PartSize: 6 << 20, SendContentMd5: true, ContentEncoding: "gzip", UserMetadata: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	got, info, err := get(t.Context(), c, "media/a/original.jpg")
	if err != nil || got != string(body) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(body), err)
	}
	if info.Metadata.Get("Content-Encoding") != "gzip" || info.Metadata.Get("X-Amz-Meta-A") != "b" {
		t.Errorf("metadata %v", info.Metadata)
	}
	_, err = c.CompleteMultipartUpload(t.Context(), bucket, "media/a/original.jpg", "0123",
		[]minio.CompletePart{{PartNumber: 1, ETag: "d41d8cd98f00b204e9800998ecf8427e"}}, minio.PutObjectOptions{})
	if code(err) != minio.NoSuchUpload {
		t.Errorf("completing an upload that is not there: %v", err)
	}
}

func TestS3RefusesKeysItWouldChange(t *testing.T) {
	t.Parallel()
	c := newBucket(t, startS3(t, S3Options{}))
	for _, key := range []string{"a//b", "a/./b", "/a", ".sgwtmp/x", strings.Repeat("x", 256)} {
		if err := put(t.Context(), c, key, "x", minio.PutObjectOptions{}); err == nil {
			t.Errorf("%.20q was taken", key)
		}
	}
	long := strings.Repeat("x", 255)
	for range 2 { // the second overwrites
		if err := put(t.Context(), c, long, "x", minio.PutObjectOptions{}); err != nil {
			t.Errorf("255 bytes: %v", err)
		}
	}
	if got := list(t, c); len(got) != 1 || got[0] != long {
		t.Errorf("listed %q", got)
	}
}

func TestS3DeletesObjectsAndBuckets(t *testing.T) {
	t.Parallel()
	s := startS3(t, S3Options{})
	c := newBucket(t, s)
	for _, key := range []string{"a/b/1", "a/b/2", "c"} {
		if err := put(t.Context(), c, key, "x", minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RemoveBucket(t.Context(), bucket); code(err) != minio.BucketNotEmpty {
		t.Errorf("removing a full bucket: %v", err)
	}
	if err := c.RemoveObject(t.Context(), bucket, "a/b/1", minio.RemoveObjectOptions{}); err != nil {
		t.Error(err)
	}
	rest := make(chan minio.ObjectInfo, 3)
	for _, key := range []string{"a/b/2", "c", "never/was"} {
		rest <- minio.ObjectInfo{Key: key}
	}
	close(rest)
	for e := range c.RemoveObjects(t.Context(), bucket, rest, minio.RemoveObjectsOptions{}) {
		t.Errorf("%s: %v", e.ObjectName, e.Err)
	}
	if _, _, err := get(t.Context(), c, "a/b/1"); code(err) != minio.NoSuchKey {
		t.Errorf("getting a deleted object: %v", err)
	}
	if err := c.RemoveBucket(t.Context(), bucket); err != nil {
		t.Error(err)
	}
	_, _, err := get(t.Context(), c, "c")
	if answer := minio.ToErrorResponse(err); answer.Code != minio.NoSuchBucket || strings.Contains(answer.BucketName, "/") {
		t.Errorf("getting from a deleted bucket: %+v", answer)
	}
}

func TestS3BucketPolicyOpensAPrefixToEverybody(t *testing.T) {
	t.Parallel()
	s := startS3(t, S3Options{})
	c := newBucket(t, s)
	for _, key := range []string{"media/a", "articles/a"} {
		if err := put(t.Context(), c, key, "x", minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::loa/media/*"}]}`
	if err := c.SetBucketPolicy(t.Context(), bucket, policy); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"media/a": 200, "articles/a": 403, "media/../articles/a": 403} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Endpoint()+"/"+bucket+"/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestS3RefusesStrangers(t *testing.T) {
	t.Parallel()
	s := startS3(t, S3Options{})
	newBucket(t, s)
	for want, login := range map[string]Login{
		"InvalidAccessKeyId":    {"somebody", "x"},
		"SignatureDoesNotMatch": {s.Credentials().Name, "guess"},
	} {
		c := client(t, s.Endpoint(), login)
		if _, _, err := get(t.Context(), c, "a"); code(err) != want {
			t.Errorf("get: %v, want %s", err, want)
		}
		if _, err := c.StatObject(t.Context(), bucket, "a", minio.StatObjectOptions{}); code(err) != minio.AccessDenied {
			t.Errorf("stat: %v", err)
		}
	}
}

func TestS3ServersOfOneProcessAreApart(t *testing.T) {
	t.Parallel()
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	a, b := newBucket(t, startS3(t, S3Options{})), newBucket(t, startS3(t, S3Options{}))
	if err := put(t.Context(), a, "x", "của a", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), b, "x", "của b", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if body, _, err := get(t.Context(), a, "x"); err != nil || body != "của a" {
		t.Errorf("a has %q, %v", body, err)
	}
	if after, err := os.Getwd(); err != nil || after != before {
		t.Errorf("the working directory became %s, %v", after, err)
	}
}

func TestS3RestartKeepsDataAndSweepsLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startS3(t, S3Options{Dir: dir})
	c := newBucket(t, s)
	if err := put(t.Context(), c, "a/b", "x", minio.PutObjectOptions{ContentType: "text/plain"}); err != nil {
		t.Fatal(err)
	}
	upload, err := c.NewMultipartUpload(t.Context(), bucket, "a/c", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	login := s.Credentials()
	s.Shutdown()
	leftovers := filepath.Join(dir, "buckets", bucket, posix.MetaTmpDir)
	if _, err := os.Stat(leftovers); err != nil {
		t.Fatalf("nothing to sweep: %v", err)
	}

	s = startS3(t, S3Options{Dir: dir})
	if s.Credentials() != login {
		t.Error("credentials changed over a restart")
	}
	if read, err := ReadS3Credentials(dir); err != nil || read != login {
		t.Errorf("read %v, %v", read, err)
	}
	c = client(t, s.Endpoint(), login)
	if _, err := os.Stat(leftovers); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leftovers are still there: %v", err)
	}
	if body, info, err := get(t.Context(), c, "a/b"); err != nil || body != "x" || info.ContentType != "text/plain" {
		t.Errorf("%q, %q, %v", body, info.ContentType, err)
	}
	if err := c.AbortMultipartUpload(t.Context(), bucket, "a/c", upload); code(err) != minio.NoSuchUpload {
		t.Errorf("aborting an upload of the former server: %v", err)
	}
}

func TestS3ShutdownFreesPortAndGoroutines(t *testing.T) {
	// Not parallel: it counts goroutines.
	dir := t.TempDir()
	run := func() (endpoint string) {
		s := startS3(t, S3Options{Dir: dir})
		c := client(t, s.Endpoint(), s.Credentials())
		if _, err := c.ListBuckets(t.Context()); err != nil { // leaves an idle connection
			t.Fatal(err)
		}
		began := time.Now()
		s.Shutdown()
		if took := time.Since(began); took > time.Second {
			t.Errorf("shutdown took %v", took)
		}
		return s.Endpoint()
	}
	l, err := net.Listen("tcp", run())
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	l.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	before := runtime.NumGoroutine()
	for range 5 {
		run()
	}
	deadline := time.Now().Add(soon)
	for runtime.NumGoroutine() > before+5 && time.Now().Before(deadline) { // clients' own end later
		runtime.Gosched()
	}
	if after := runtime.NumGoroutine(); after > before+5 {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines became %d:\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
}

func TestS3RefusesFileSystemsWithoutAttributes(t *testing.T) {
	t.Parallel()
	err := checkXattrs("/proc/self") // where not even a file can be made
	if err == nil {
		t.Error("/proc was taken")
	}
	if err := checkXattrs(t.TempDir()); err != nil {
		t.Error(err)
	}
}

// TestS3KillLosesNothingAcknowledged has writers overwrite a few keys in a server that is
// killed in the midst of it, again and again. What a writer was told is stored must be
// there afterwards, that version or a later one, and whole.
func TestS3KillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	const kills, writers, keysEach, putsBeforeKill = 4, 8, 4, 150
	dir := t.TempDir()
	type object struct{ acked, tried int } // versions
	objects := make([][keysEach]object, writers)
	name := func(w, k int) string { return fmt.Sprintf("w%d/k%d/object", w, k) }
	acknowledged := 0

	for round := range kills {
		endpoint, kill := startChild(t, dir)
		login, err := ReadS3Credentials(dir)
		if err != nil {
			t.Fatal(err)
		}
		c := client(t, endpoint, login)
		if round == 0 {
			if err := c.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		var puts atomic.Int64
		var killed atomic.Bool
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := 0; ; i++ {
					o := &objects[w][i%keysEach]
					o.tried++
					err := put(t.Context(), c, name(w, i%keysEach), sealed(o.tried), minio.PutObjectOptions{ContentType: "text/x-sealed"})
					if err != nil {
						if !killed.Load() {
							t.Errorf("before the kill: %v", err)
						}
						return
					}
					o.acked = o.tried
					if puts.Add(1) == putsBeforeKill {
						killed.Store(true)
						kill()
					}
				}
			})
		}
		wg.Wait()
		acknowledged += int(puts.Load())

		endpoint, kill = startChild(t, dir)
		c = client(t, endpoint, login)
		for _, key := range list(t, c) {
			if strings.Count(key, "/") != 2 || !strings.HasSuffix(key, "/object") {
				t.Errorf("a leftover is visible: %s", key)
			}
		}
		for w := range writers {
			for k := range keysEach {
				o := &objects[w][k]
				body, info, err := get(t.Context(), c, name(w, k))
				if o.acked == 0 && code(err) == minio.NoSuchKey {
					continue
				}
				version, whole := unseal(body)
				if err != nil || !whole || version < o.acked || version > o.tried || info.ContentType != "text/x-sealed" {
					t.Errorf("%s: version %d (whole: %v) of type %q, %v; acknowledged %d, tried %d",
						name(w, k), version, whole, info.ContentType, err, o.acked, o.tried)
				}
			}
		}
		kill()
	}
	t.Logf("%d acknowledged puts, %d kills", acknowledged, kills)
}

// sealed is a body of random length that tells its version and whether it is whole.
func sealed(version int) string {
	body := fmt.Sprintf("%d\n%s", version, strings.Repeat("nội dung ", mathrand.IntN(4000)))
	return fmt.Sprintf("%x\n%s", sha256.Sum256([]byte(body)), body)
}

func unseal(s string) (version int, whole bool) {
	sum, body, _ := strings.Cut(s, "\n")
	first, _, _ := strings.Cut(body, "\n")
	version, err := strconv.Atoi(first)
	return version, err == nil && sum == fmt.Sprintf("%x", sha256.Sum256([]byte(body)))
}

func BenchmarkStartS3(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		s, err := StartS3(b.Context(), S3Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		s.Shutdown()
	}
}

func BenchmarkStartNATS(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		n, err := StartNATS(b.Context(), NATSOptions{Dir: dir, Listen: "127.0.0.1:0"})
		if err != nil {
			b.Fatal(err)
		}
		n.Shutdown()
	}
}

func TestS3MayBeShutDownAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 50 {
		s, err := StartS3(t.Context(), S3Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s.Shutdown()
	}
}
