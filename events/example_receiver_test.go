package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/loa-syndication/loa/events"
)

// A portal that keeps what it is told. Yours has a table in place of the map, and compares and
// writes in one transaction.
func ExampleHandler() {
	secret := events.NewSecret() // as Loa's configuration has it for this portal
	verifier, err := events.NewVerifier(secret)
	if err != nil {
		log.Fatal(err)
	}

	var mu sync.Mutex
	articles := make(map[string]events.BulletinArticle)
	portal := httptest.NewServer(events.Handler(verifier, func(ctx context.Context, b events.Bulletin) error {
		switch b.Type {
		case events.BulletinPublished, events.BulletinWithdrawn:
		default:
			return nil // a ping, or something of a newer Loa
		}
		mu.Lock()
		defer mu.Unlock()
		if held, ok := articles[b.Data.GUID]; ok && !b.Data.Newer(held) {
			return nil // a repeat, or late: nothing to do, and all is well
		}
		articles[b.Data.GUID] = b.Data // a withdrawn one too, so that nothing older comes back
		return nil
	}))
	defer portal.Close()

	third := bulletin(3, events.StatusLive, "Lịch tiêm chủng tháng 12")
	fourth := bulletin(4, events.StatusWithdrawn, "Lịch tiêm chủng tháng 12")
	for _, b := range []events.Bulletin{third, fourth, fourth, third} { // repeated, and out of order
		fmt.Println(push(portal.URL, secret, b.Data.Version, b))
	}
	for _, a := range articles {
		fmt.Println(a.Title, a.Version, a.Status)
	}
	// Output:
	// 204
	// 204
	// 204
	// 204
	// Lịch tiêm chủng tháng 12 4 withdrawn
}

// A receiver with an HTTP framework of its own needs the verifier alone.
func ExampleVerifier_Verify() {
	verifier, err := events.NewVerifier("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		log.Fatal(err)
	}
	verifier.Now = func() time.Time { return time.Unix(1614265330, 0) } // for this example's old signature

	header := http.Header{}
	header.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set("webhook-timestamp", "1614265330")
	header.Set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")

	fmt.Println(verifier.Verify(header, []byte(`{"test": 2432232314}`)))
	fmt.Println(verifier.Verify(header, []byte(`{"test": 0}`)))
	// Output:
	// <nil>
	// no signature matches
}

func ExampleParseBulletin() {
	b, err := events.ParseBulletin([]byte(`{
		"type": "article.withdrawn",
		"timestamp": "2026-12-05T02:00:01Z",
		"data": {"guid": "urn:uuid:2c5ea4c0-4067-5a0b-8b1c-1d0f5f0f9a11", "version": 4, "status": "withdrawn",
			"withdrawal": {"reason": "Đăng nhầm.", "withdrawn_at": "2026-12-05T09:00:00+07:00"}}
	}`))
	fmt.Println(b.Data.Version, b.Data.Withdrawal.Reason, err)
	// Output: 4 Đăng nhầm. <nil>
}

// A portal that asked for digests and does not use [events.Handler].
func ExampleParseDigest() {
	d, err := events.ParseDigest([]byte(`{
		"type": "loa.digest",
		"timestamp": "2026-12-05T02:00:01Z",
		"data": {"more": 0, "articles": [
			{"guid": "urn:uuid:2c5ea4c0-4067-5a0b-8b1c-1d0f5f0f9a11", "version": 4, "status": "withdrawn",
				"withdrawal": {"reason": "Đăng nhầm.", "withdrawn_at": "2026-12-05T09:00:00+07:00"}},
			{"guid": "urn:uuid:7b0f1f52-7c0a-5d3c-9a5e-3b1f1f0c7a11", "version": 1, "status": "live", "title": "Chợ Hoa Mai họp lại"}
		]}
	}`))
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range d.Bulletins() { // as if they had come singly
		fmt.Println(b.Type, b.Data.Version)
	}
	// Output:
	// article.withdrawn 4
	// article.published 1
}

// A portal whose format is ninjs: the function reads what the format has, and the rest is as ever.
func ExampleHandlerFor() {
	secret := events.NewSecret()
	verifier, err := events.NewVerifier(secret)
	if err != nil {
		log.Fatal(err)
	}
	read := func(contentType string, body []byte) ([]events.Bulletin, error) {
		bulletins, err := events.ParseBulletins(body) // guid, version and status stand beside the item
		var envelope events.NinjsBulletin
		if err != nil || json.Unmarshal(body, &envelope) != nil || envelope.Data.Ninjs == nil {
			return bulletins, err // a ping, or a digest
		}
		var item struct{ Headlines []struct{ Value string } }
		if err := json.Unmarshal(envelope.Data.Ninjs, &item); err != nil {
			return nil, err
		}
		if len(item.Headlines) > 0 {
			bulletins[0].Data.Title = item.Headlines[0].Value
		}
		return bulletins, nil
	}
	portal := httptest.NewServer(events.HandlerFor(verifier, read, func(_ context.Context, b events.Bulletin) error {
		fmt.Println(b.Data.Version, b.Data.Title)
		return nil
	}))
	defer portal.Close()

	fmt.Println(push(portal.URL, secret, 7, events.NinjsBulletin{Type: events.BulletinPublished, Timestamp: time.Now(), Data: events.NinjsArticle{
		GUID: "urn:uuid:2c5ea4c0-4067-5a0b-8b1c-1d0f5f0f9a11", Version: 7, Status: events.StatusLive,
		Ninjs: json.RawMessage(`{"uri": "urn:uuid:2c5ea4c0-4067-5a0b-8b1c-1d0f5f0f9a11", "headlines": [{"value": "Lịch tiêm chủng"}]}`),
	}}))
	// Output:
	// 7 Lịch tiêm chủng
	// 204
}

// A portal that tells what it holds when Loa compares.
func ExampleComparingHandler() {
	secret := events.NewSecret()
	verifier, err := events.NewVerifier(secret)
	if err != nil {
		log.Fatal(err)
	}
	held := bulletin(3, events.StatusLive, "Lịch tiêm chủng tháng 12").Data
	receive := func(_ context.Context, b events.Bulletin) error {
		if held.Newer(b.Data) { // the same version with other content takes the place of what is held
			return nil
		}
		held = b.Data
		return nil
	}
	list := func(_ context.Context, after, upTo string, most int) ([]events.ManifestEntry, error) {
		// SELECT … WHERE guid > after AND guid <= upTo ORDER BY guid LIMIT most
		return []events.ManifestEntry{held.Entry()}, nil
	}
	portal := httptest.NewServer(events.ComparingHandler(verifier, func(_ string, body []byte) ([]events.Bulletin, error) {
		return events.ParseBulletins(body)
	}, receive, list))
	defer portal.Close()

	page := events.ManifestPage{Page: 1, Entries: []events.ManifestEntry{bulletin(3, events.StatusLive, "Lịch tiêm chủng tháng 12").Data.Entry()}}
	answer, err := events.ParseHoldings(ask(portal.URL, secret, events.Manifest{Type: events.BulletinManifest, Timestamp: time.Now(), Data: page}), page)
	fmt.Println(len(answer.Holds), answer.Holds[0] == page.Entries[0], err)
	// Output: 1 true <nil>
}

// Signing is Loa's side; a portal's tests may want it.
func ExampleSign() {
	signature, err := events.Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek",
		time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	fmt.Println(signature, err)
	// Output: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= <nil>
}

func bulletin(version int64, status, title string) events.Bulletin {
	b := events.Bulletin{Type: events.BulletinPublished, Timestamp: time.Now(), Data: events.BulletinArticle{
		GUID: "urn:uuid:2c5ea4c0-4067-5a0b-8b1c-1d0f5f0f9a11", Site: "phuong-hoa-mai", ID: "2026-1142",
		Version: version, Status: status, Title: title, URL: "https://hoamai.example.vn/tin/1",
	}}
	if status == events.StatusWithdrawn {
		b.Type = events.BulletinWithdrawn
	}
	return b
}

// push does what Loa does.
func push(url, secret string, version int64, b any) int {
	status, _ := post(url, secret, version, b)
	return status
}

// ask does it, and gives what was answered.
func ask(url, secret string, m events.Manifest) []byte {
	_, answer := post(url, secret, 0, m)
	return answer
}

func post(url, secret string, version int64, b any) (status int, answer []byte) {
	body, err := json.Marshal(b)
	if err != nil {
		log.Fatal(err)
	}
	now, id := time.Now(), fmt.Sprintf("portal-article-%d", version)
	signature, err := events.Sign(secret, id, now, body)
	if err != nil {
		log.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(events.HeaderID, id)
	r.Header.Set(events.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	r.Header.Set(events.HeaderSignature, signature)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err != nil {
		log.Fatal(err)
	}
	return res.StatusCode, answer
}
