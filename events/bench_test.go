package events_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
)

// BenchmarkParse reads an event of 4 KB. The floor is encoding/json, which checks nothing.
func BenchmarkParse(b *testing.B) {
	a := fullArticle()
	const size = 4 << 10
	base := len(encode(b, events.NewPublished(source, a)))
	text := "<p>Trạm y tế phường tiêm chủng vào các sáng thứ Bảy.</p>"
	a.Body = strings.Repeat(text, (size-base)/len(text))
	data := encode(b, events.NewPublished(source, a))

	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := events.Parse(nil, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			var event struct {
				ID, Source, Type, Subject string
				Data                      events.Article
			}
			if err := json.Unmarshal(data, &event); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPublish stores events of 4 KB one after another, on loopback.
func BenchmarkPublish(b *testing.B) {
	js := connect(b, startServer(b, nil).ClientURL())
	createStream(b, js, nil)
	pub := events.NewPublisher(js)
	a := fullArticle()
	for b.Loop() {
		a.Version++
		if _, err := pub.Publish(b.Context(), events.NewPublished(source, a)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	t := goldens()["bulletin-published"]
	body := encodeBulletin(b, t)
	secret := events.NewSecret()
	v := verifierAt(b, t.Timestamp, secret)
	header := signedHeader(b, "id", t.Timestamp, body, secret)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := v.Verify(header, body); err != nil {
			b.Fatal(err)
		}
	}
}
