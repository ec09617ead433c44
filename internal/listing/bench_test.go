package listing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// BenchmarkTake takes articles in, as a start does, and tells what each costs in memory.
func BenchmarkTake(b *testing.B) {
	const number = "00000000"
	model, err := json.Marshal(&article.Article{Site: "phuong-7", ID: "thong-bao-" + number, URL: "https://a.example/" + number, Language: "vi",
		Title: "Thông báo", Body: strings.Repeat("<p>Ủy ban nhân dân phường thông báo.</p>", 150), Status: events.StatusLive, Urgency: 5, Published: time.Now(),
		Categories: []events.Category{{ID: "thong-bao"}}, Tags: []string{"hè", "lịch", "nước"}})
	if err != nil {
		b.Fatal(err)
	}
	x := New(nil, zerolog.Nop())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		n++
		id := fmt.Sprintf("%08d", n*7919%100_000_007)
		data := bytes.ReplaceAll(model, []byte(number), []byte(id))
		if err := x.take(streams.ArticleSubject(streams.KeyOf("phuong-7", "thong-bao-"+id)), data, uint64(n)); err != nil {
			b.Fatal(err)
		}
	}
	x.caughtUp(uint64(n), time.Now())
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/article")
	runtime.KeepAlive(x)
}
