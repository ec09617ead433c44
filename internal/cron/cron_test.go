package cron_test

import (
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/cron"
)

func TestNext(t *testing.T) {
	zone, err := cron.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, zone) // a Wednesday
	for expression, want := range map[string]time.Time{
		"0 0 7,16 * * *":       time.Date(2026, 11, 25, 16, 0, 0, 0, zone),
		"30 */20 * * * *":      time.Date(2026, 11, 25, 12, 0, 30, 0, zone),
		"0 30 7 * * mon-fri":   time.Date(2026, 11, 26, 7, 30, 0, 0, zone),
		"0 0 0 1 jan ?":        time.Date(2027, 1, 1, 0, 0, 0, 0, zone),
		"0  0  8-10/2  * *  *": time.Date(2026, 11, 26, 8, 0, 0, 0, zone),
	} {
		s, err := cron.Parse(expression, "Asia/Ho_Chi_Minh")
		if err != nil {
			t.Errorf("%s: %v", expression, err)
		} else if got := s.Next(noon.UTC()); !got.Equal(want) {
			t.Errorf("%s: %v, expected %v", expression, got, want)
		}
	}
}

func TestWhatJetStreamWouldNotTake(t *testing.T) {
	for _, c := range [][2]string{
		{"", "UTC"}, {"0 7 * * *", "UTC"}, {"@daily", "UTC"}, {"@every 1h", "UTC"}, {"TZ=UTC 0 0 7 * * *", "UTC"}, {"TZ=", "UTC"},
		{"0 0 24 * * *", "UTC"}, {"0 0 7 * * 7", "UTC"}, {"0 0 7 30 2 ?", "UTC"}, {"0 0 7-5 * * *", "UTC"}, {"0 0 */0 * * *", "UTC"},
		{"0 0 7 * * *", ""}, {"0 0 7 * * *", "Local"}, {"0 0 7 * * *", "Asia/An_Hoa"}, {"0 0 7 * * *", "../etc"},
	} {
		if _, err := cron.Parse(c[0], c[1]); err == nil {
			t.Errorf("%q in %q is taken", c[0], c[1])
		}
	}
}
