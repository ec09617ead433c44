package gateway_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/loa-syndication/loa/internal/objects"
)

// BenchmarkFeed asks for a feed over loopback, and then a bare handler that writes the same
// bytes and headers: "ratio" is how much longer the gateway takes.
func BenchmarkFeed(b *testing.B) {
	g := start(b)
	g.putFeed("một")
	tag := g.get("/"+feedKey, "Accept-Encoding", "gzip").Header.Get("Etag")
	for name, headers := range map[string][]string{
		"plain":       nil,
		"gzip":        {"Accept-Encoding", "gzip"},
		"notmodified": {"Accept-Encoding", "gzip", "If-None-Match", tag},
	} {
		b.Run(name, func(b *testing.B) {
			model := g.get("/"+feedKey, headers...)
			bare := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for name, values := range model.Header {
					if name != "Date" {
						w.Header()[name] = values
					}
				}
				w.WriteHeader(model.StatusCode)
				io.WriteString(w, model.body)
			}))
			bare.Config.ReadHeaderTimeout, bare.Config.ReadTimeout, bare.Config.WriteTimeout = time.Minute, time.Minute, time.Minute
			bare.Start()
			defer bare.Close()
			floor := conn(b, bare.Listener.Addr().String(), "/"+feedKey, headers)
			own := conn(b, g.addr, "/"+feedKey, headers)
			// In turns, so that what else the machine does concerns both.
			var times [2]time.Duration
			b.ReportAllocs()
			for b.Loop() {
				for i, ask := range []func() int{floor, own} {
					began := time.Now()
					if status := ask(); status != model.StatusCode {
						b.Fatal(status)
					}
					times[i] += time.Since(began)
				}
			}
			b.ReportMetric(float64(times[0].Nanoseconds())/float64(b.N), "bare-ns/op")
			b.ReportMetric(float64(times[1].Nanoseconds())/float64(b.N), "gateway-ns/op")
			b.ReportMetric(float64(times[1])/float64(times[0]), "ratio")
		})
	}
}

// BenchmarkPicture asks for a hot rendition over loopback, and then a static file server that has
// the same bytes in memory: "of-static" is the gateway's part of its requests per second.
func BenchmarkPicture(b *testing.B) {
	g := start(b)
	body := strings.Repeat("0123456789abcdef", 60<<10/16) // a rendition of 640 pixels
	path := "/media/" + hash + "/w640.jpg"
	g.put(path[1:], body, objects.Meta{})
	files := http.FileServerFS(fstest.MapFS{path[1:]: {Data: []byte(body), ModTime: time.Now().Add(-time.Hour)}})
	bare := httptest.NewServer(files)
	defer bare.Close()
	floor := conn(b, bare.Listener.Addr().String(), path, nil)
	own := conn(b, g.addr, path, nil)
	var times [2]time.Duration
	for b.Loop() { // in turns, as above
		for i, ask := range []func() int{floor, own} {
			began := time.Now()
			if status := ask(); status != http.StatusOK {
				b.Fatal(status)
			}
			times[i] += time.Since(began)
		}
	}
	b.ReportMetric(float64(b.N)/times[0].Seconds(), "static/s")
	b.ReportMetric(float64(b.N)/times[1].Seconds(), "gateway/s")
	b.ReportMetric(float64(times[0])/float64(times[1]), "of-static")
}

// conn is one client with a connection of its own.
func conn(b *testing.B, addr, path string, headers []string) func() int {
	transport := &http.Transport{DisableCompression: true, DialContext: (&net.Dialer{}).DialContext}
	b.Cleanup(transport.CloseIdleConnections)
	return func() int {
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
}

// discard is a response writer that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkHandler is the gateway's part alone, without connections.
func BenchmarkHandler(b *testing.B) {
	g := start(b)
	g.putFeed("một")
	const accept = "gzip, deflate, br, zstd"
	tag := g.get("/"+feedKey, "Accept-Encoding", accept).Header.Get("Etag")
	h := g.gateway.Handler()
	for name, same := range map[string]string{"whole": "", "notmodified": tag} {
		b.Run(name, func(b *testing.B) {
			req := httptest.NewRequest(http.MethodGet, "/"+feedKey, nil)
			req.Header.Set("Accept-Encoding", accept)
			if same != "" {
				req.Header.Set("If-None-Match", same)
			}
			w := discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, req)
			}
		})
	}
}
