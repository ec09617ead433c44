package dates_test

import (
	"errors"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/dates"
)

func TestTimesAsPortalsWriteThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		// Vietnamese pages.
		"12/10/2024 | 09:30":                   "2024-10-12T09:30:00+07:00",
		"28/06/2022 08:31 AM":                  "2022-06-28T08:31:00+07:00",
		"28/06/2022 08:31 PM":                  "2022-06-28T20:31:00+07:00",
		"13:39 - 01/08/2022":                   "2022-08-01T13:39:00+07:00",
		"15:51 | 17/04/2020":                   "2020-04-17T15:51:00+07:00",
		"Thứ ba, 08/07/2025 08:11":             "2025-07-08T08:11:00+07:00",
		"17 - 05 - 2024":                       "2024-05-17T00:00:00+07:00",
		"Thứ Năm, ngày 05/11/2026, 07:05":      "2026-11-05T07:05:00+07:00",
		"Chủ nhật, 1/2/2026":                   "2026-02-01T00:00:00+07:00",
		"CN, 01/02/2026 - 21:05":               "2026-02-01T21:05:00+07:00",
		"T2, 2.2.2026":                         "2026-02-02T00:00:00+07:00",
		"09h30, ngày 12 tháng 10 năm 2024":     "2024-10-12T09:30:00+07:00",
		"9 giờ 05 phút ngày 12/10/2024":        "2024-10-12T09:05:00+07:00",
		"9h ngày 12/10/2024":                   "2024-10-12T09:00:00+07:00",
		"12 Tháng Mười, 2024":                  "2024-10-12T00:00:00+07:00",
		"1 Tháng Mười Hai, 2024 8:15 CH":       "2024-12-01T20:15:00+07:00",
		"5 Tháng Năm, 2024":                    "2024-05-05T00:00:00+07:00",
		"12:05 SA 02/03/2024":                  "2024-03-02T00:05:00+07:00",
		"Thứ sáu, 21/11/2025, 18:00 (GMT+7)":   "2025-11-21T18:00:00+07:00",
		"Cập nhật lúc 08:00 ngày 03/02/2025":   "2025-02-03T08:00:00+07:00",
		"Thứ tư, 05/11/2025 13:39 PM":          "2025-11-05T13:39:00+07:00", // decomposed letters
		"Thu\u031b\u0301 ba, 08/07/2025 08:11": "2025-07-08T08:11:00+07:00",

		// Feeds, right and nearly so.
		"2026-11-24T08:30:00+07:00":              "2026-11-24T08:30:00+07:00",
		"2026-11-24T08:30:00.123Z":               "2026-11-24T08:30:00.123Z",
		"2026-11-24 08:30:00":                    "2026-11-24T08:30:00+07:00",
		"2026-11-24T08:30":                       "2026-11-24T08:30:00+07:00",
		"2026-11-24t08:30:00z":                   "2026-11-24T08:30:00Z",
		"2026-11-24":                             "2026-11-24T00:00:00+07:00",
		"20261124T083000Z":                       "2026-11-24T08:30:00Z",
		"2026/11/24 08:30:00 +0000":              "2026-11-24T08:30:00Z",
		"Tue, 24 Nov 2026 08:30:00 +0700":        "2026-11-24T08:30:00+07:00",
		"Tue, 24 Nov 2026 08:30:00 GMT":          "2026-11-24T08:30:00Z",
		"24 Nov 26 08:30 EST":                    "2026-11-24T08:30:00-05:00",
		"Tuesday, 24-Nov-26 08:30:00 UTC":        "2026-11-24T08:30:00Z",
		"Tue Nov 24 08:30:00 2026":               "2026-11-24T08:30:00+07:00",
		"Tue Nov 24 08:30:00 ICT 2026":           "2026-11-24T08:30:00+07:00",
		"Tue, 4 November 2026 08:30:00 +07:00":   "2026-11-04T08:30:00+07:00",
		"Tue, 24 Nov 2026 08:30:00 +0000 (UTC)":  "2026-11-24T08:30:00Z",
		"Nov 24, 2026 8:30 pm":                   "2026-11-24T20:30:00+07:00",
		"Sept 1, 2026":                           "2026-09-01T00:00:00+07:00",
		"Thứ ba, 24 Nov 2026 08:30:00 +0700":     "2026-11-24T08:30:00+07:00",
		"Wed, 31 Dec 2025 23:59:60 GMT":          "2025-12-31T23:59:59Z",
		" Tue,  24 Nov 2026\n08:30:00 GMT+7 ":    "2026-11-24T08:30:00+07:00",
		"Tue, 24 Nov 2026 08:30:00 Asia/Saigon.": "",
	} {
		got, err := dates.Parse(text, dates.HoChiMinh)
		if want == "" {
			if err == nil {
				t.Errorf("%q: got %v, want an error", text, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		expected, err := time.Parse(time.RFC3339, want)
		if err != nil {
			t.Fatal(err)
		}
		_, offset := got.Zone()
		_, wanted := expected.Zone()
		if !got.Equal(expected) || offset != wanted {
			t.Errorf("%q: got %v, want %s", text, got, want)
		}
	}
}

func TestWhatIsNoTimeIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "hôm qua", "2 giờ trước", "12/10", "09:30", "10/28/2024", "31/02/2024", "30.02.2024", "00/10/2024", "12/10/9999", "12/10/1024",
		"12/10/2024 25:10", "12/10/2024 09:75", "12/10/2024 13:00 AM", "12/10-2024", "12/10/2024 và 13/10/2024", "1733300000",
		"Tue, 24 Nov 2026 08:30:00 XYZ", "2026-13-01", "2026-11-24T08:30:00+99:00", "12/10/24", "tin tháng 10", "tháng 10 năm 2024",
	} {
		if got, err := dates.Parse(text, dates.HoChiMinh); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		} else if bad := new(dates.Error); !errors.As(err, &bad) {
			t.Errorf("%q: error %T", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"Thứ ba, 08/07/2025 08:11", "Tue, 24 Nov 26 08:30 EST", "2026-11-24T08:30:00.5+07:00", "9 giờ 05 phút ngày 12/10/2024", "20261124T083000Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := dates.Parse(text, dates.HoChiMinh)
		if err != nil {
			return
		}
		if y := got.Year(); y < 1990 || y > 2200 {
			t.Fatalf("%q: year %d", text, y)
		}
		again, err := dates.Parse(got.Format(time.RFC3339Nano), dates.HoChiMinh)
		if err != nil || !again.Equal(got) {
			t.Fatalf("%q gave %v, which reads as %v, %v", text, got, again, err)
		}
	})
}
