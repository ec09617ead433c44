package events_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
)

// What a CMS does when an editor presses "publish".
func ExamplePublisher_Publish() {
	address, stop := runLoa() // yours runs already
	defer stop()

	nc, err := nats.Connect(address, nats.Name("cms"), nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	publisher := events.NewPublisher(js)

	event := events.NewPublished("https://cms.example.vn", events.Article{
		Site:       "phuong-hoa-mai",
		ID:         "2026-1142",
		Version:    1, // the row's revision counter, say
		URL:        "https://hoamai.example.vn/tin/lich-tiem-chung-thang-12",
		Title:      "Phường Hoa Mai thông báo lịch tiêm chủng tháng 12",
		Body:       "<p>Trạm y tế phường tiêm chủng miễn phí cho trẻ dưới 5 tuổi vào các sáng thứ Bảy.</p>",
		Categories: []events.Category{{ID: "y-te", Label: "Y tế"}},
		Published:  time.Date(2026, 11, 24, 8, 30, 0, 0, time.FixedZone("+07", 7*60*60)),
		Images: []events.Image{{
			URL:  "https://hoamai.example.vn/anh/tiem-chung.jpg",
			Role: events.RoleLead,
			Alt:  "Nhân viên y tế tiêm cho trẻ",
		}},
	})

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ack, err := publisher.Publish(ctx, event)
	var refused *events.RefusedError
	switch {
	case errors.As(err, &refused):
		log.Fatal(err) // a fault of ours: show it to the editor, do not repeat
	case err != nil:
		log.Fatal(err) // events.ErrUnavailable: keep the event, publish it again later
	}
	fmt.Println("stored as number", ack.Sequence)

	ack, err = publisher.Publish(ctx, event) // after a crash, to be sure
	fmt.Println("repeated:", ack.Duplicate, err)
	// Output:
	// stored as number 1
	// repeated: true <nil>
}

// What a CMS does when an article must go.
func ExampleNewWithdrawn() {
	address, stop := runLoa()
	defer stop()
	nc, err := nats.Connect(address)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}

	event := events.NewWithdrawn("https://cms.example.vn", events.Withdrawal{
		Site:        "phuong-hoa-mai",
		ID:          "2026-1142",
		Version:     2, // newer than what it withdraws, or the same
		Reason:      "Bài viết được thay bằng thông báo mới.",
		Status:      events.WithdrawnRedirect,
		RedirectURL: "https://hoamai.example.vn/tin/lich-tiem-chung-moi",
		WithdrawnAt: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC),
	})
	ack, err := events.NewPublisher(js).Publish(context.Background(), event)
	fmt.Println(ack.Stream, err)
	// Output: EVENTS <nil>
}

// Faults are found before anything is sent, all of them at once.
func ExampleInvalidError() {
	event := events.NewPublished("https://cms.example.vn", events.Article{
		Site: "Phường Hoa Mai", ID: "1", Version: -3, URL: "/tin/1", Title: "Lịch tiêm chủng",
		Published: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	})
	data, err := event.MarshalJSON()
	if err != nil {
		log.Fatal(err)
	}
	_, err = events.Parse(nil, data)
	var invalid *events.InvalidError
	if errors.As(err, &invalid) {
		for _, fault := range invalid.Faults {
			fmt.Println(fault.Path, "is", fault.Value)
		}
	}
	// Output:
	// /data/published is "9999-01-01T00:00:00Z"
	// /data/site is "Phường Hoa Mai"
	// /data/url is "/tin/1"
	// /data/version is -3
	// /time is "9999-01-01T00:00:00Z"
}

func ExampleSubject() {
	fmt.Println(events.Subject("phuong-hoa-mai", "2026-1142"))
	fmt.Println(events.Subject("phuong-hoa-mai", "tin-tuc/lich-tiem-chung"))
	// Output:
	// loa.event.phuong-hoa-mai.2026-1142
	// loa.event.phuong-hoa-mai.h--52fb808ec82976545d471e6c86b9ad0a
}

// runLoa stands for a running Loa: a NATS server with the stream that Loa creates.
func runLoa() (address string, stop func()) {
	dir, err := os.MkdirTemp("", "loa-example-")
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(readyWithin) {
		log.Fatal("NATS server is not ready")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: events.Stream, Subjects: []string{events.SubjectPrefix + ">"}}); err != nil {
		log.Fatal(err)
	}
	return s.ClientURL(), func() {
		s.Shutdown()
		s.WaitForShutdown()
		os.RemoveAll(dir)
	}
}
