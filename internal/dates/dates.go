// Package dates reads times as portals write them: RFC 3339 and RFC 822 with their common faults,
// and the forms of Vietnamese pages.
//
//	12/10/2024 | 09:30            Thứ ba, 08/07/2025 08:11
//	28/06/2022 08:31 AM           09h30, ngày 12 tháng 10 năm 2024
//	13:39 - 01/08/2022            17 - 05 - 2024
//
// In figures the day comes before the month, as everywhere but in the United States; 10/28/2024
// is refused rather than guessed at, because its neighbour 10/11/2024 would be read wrongly and
// nobody would see it. So are times without a year or relative to now, which mean something
// else tomorrow, and zones by a name that is not known. Days of the week are passed over: they say nothing
// that the date does not.
package dates

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// HoChiMinh is the zone of times that name none. Vietnam has not moved its clocks since 1975.
var HoChiMinh = time.FixedZone("+07", 7*60*60)

const (
	// maxText is in bytes; the longest date in words has about 80.
	maxText = 128
	// Years outside of these are mistakes: the contract refuses them.
	minYear, maxYear = 1990, 2200
)

// Error says that a text is no time that this package knows.
type Error struct {
	Text string // cut
	Why  string
}

func (e *Error) Error() string { return fmt.Sprintf("time %q: %s", e.Text, e.Why) }

// Parse reads a time. One without a zone is in zone; one without an hour is the day's beginning.
// The error is an [*Error].
func Parse(text string, zone *time.Location) (time.Time, error) {
	p := parser{rest: fold(text), zone: zone}
	fail := func(why string) (time.Time, error) {
		return time.Time{}, &Error{Text: shorten(strings.TrimSpace(text)), Why: why}
	}
	if len(text) > maxText {
		return fail(fmt.Sprintf("expected at most %d bytes", maxText))
	}
	if why := p.read(); why != "" {
		return fail(why)
	}
	t := time.Date(p.year, time.Month(p.month), p.day, p.hour, p.minute, p.second, p.nano, p.zone)
	if t.Day() != p.day || int(t.Month()) != p.month {
		return fail(fmt.Sprintf("no day %d in month %d of %d", p.day, p.month, p.year))
	}
	return t, nil
}

func shorten(s string) string {
	const most = 60
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// fold brings what is written in several ways into one: composed small letters, single spaces,
// one kind of dash.
func fold(s string) string {
	s = strings.ToLower(norm.NFC.String(strings.ToValidUTF8(s, "\uFFFD")))
	s = strings.NewReplacer("–", "-", "—", "-", "−", "-", "\u00a0", " ", "\u200b", "", "\u200e", "").Replace(s)
	return strings.Join(strings.Fields(s), " ")
}

// parser takes a text apart. What it has understood it removes from rest; what is left over
// has to be nothing.
type parser struct {
	rest                 string
	zone                 *time.Location
	year, month, day     int
	hour, minute, second int
	nano                 int
}

// read gives why the text is no time, or "".
func (p *parser) read() string {
	if !p.date() {
		return "expected a date with day, month and year, such as 2024-10-12, 12/10/2024 or 12 Oct 2024"
	}
	if p.year < minYear || p.year > maxYear {
		return fmt.Sprintf("expected a year from %d to %d, found %d", minYear, maxYear, p.year)
	}
	if p.month < 1 || p.month > 12 {
		return fmt.Sprintf("expected a month from 1 to 12 after the day, found %d", p.month)
	}
	if why := p.clock(); why != "" {
		return why
	}
	if why := p.offset(); why != "" {
		return why
	}
	left := noise.ReplaceAllString(p.rest, " ")
	if left = strings.Trim(left, " |,.;:-/()[]\t"); left != "" {
		return fmt.Sprintf("expected a date and a time alone, found %q beside them", shorten(left))
	}
	return ""
}

// take removes what the expression matches, and gives its groups; nil where it does not match.
func (p *parser) take(re *regexp.Regexp) []string {
	at := re.FindStringSubmatchIndex(p.rest)
	if at == nil {
		return nil
	}
	groups := make([]string, len(at)/2)
	for i := range groups {
		if at[2*i] >= 0 {
			groups[i] = p.rest[at[2*i]:at[2*i+1]]
		}
	}
	p.rest = p.rest[:at[0]] + " | " + p.rest[at[1]:]
	return groups
}

var (
	// noise is what stands around a time and says nothing: days of the week, and words such as
	// "posted on". "thứ" comes before its number.
	noise = regexp.MustCompile(`(?:thứ|thu) ?(?:hai|ba|tư|tu|bốn|năm|nam|sáu|sau|bảy|bẩy|bay|[2-7])|chủ nhật|chu nhat|chúa nhật` +
		`|\b(?:t[2-7]|cn)\b|\b(?:mon|tue|tues|wed|thu|thur|thurs|fri|sat|sun)(?:day|nesday|sday|rsday|urday)?\b` +
		`|(?:cập nhật|đăng|xuất bản|ngày|lúc|vào|hồi)(?: lúc| ngày| vào)?|\b(?:posted|published|updated|on|at|date)\b|\([a-z]{1,5}\)`)

	isoDate   = regexp.MustCompile(`\b(\d{4}) ?[-/.] ?(\d{1,2}) ?[-/.] ?(\d{1,2})(?:t|\b)`)
	plainDate = regexp.MustCompile(`(?:^|[^\d:/.-])(\d{1,2}) ?([-/.]) ?(\d{1,2}) ?([-/.]) ?(\d{4})\b`)
	wordDate  = regexp.MustCompile(`(?:^|\D)(\d{1,2}) ?(?:,|-)? ?tháng ?(giêng|một|hai|ba|tư|bốn|năm|sáu|bảy|tám|chín|mười một|mười hai|mười|chạp|\d{1,2}),?(?: năm)? ?(\d{4})\b`)
	dayMonth  = regexp.MustCompile(`\b(\d{1,2})(?:st|nd|rd|th)?[ -]` + months + `\.?,?[ -](\d{4}|\d\d)\b`)
	monthDay  = regexp.MustCompile(`\b` + months + `\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})\b`)
	ansic     = regexp.MustCompile(`\b` + months + ` (\d{1,2}) (\d{1,2}:\d\d:\d\d)((?: [a-z]{2,5}| [-+]\d{4})?) (\d{4})\b`)
	basicDate = regexp.MustCompile(`^(\d{4})(\d\d)(\d\d)(?:t(\d\d)(\d\d)(\d\d)?|$)`)

	clockText = regexp.MustCompile(`(?:^|[^\d:])(\d{1,2})(?: ?: ?|h|g| giờ ?)(\d\d)?(?: ?phút)?(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?(?: ?(am|pm|a\.m\.|p\.m\.|sa|ch|sáng|chiều|tối)(?:[^\pL]|$))?`)
	zoneText  = regexp.MustCompile(`(?:\b(?:gmt|utc|ut) ?)?([-+]) ?(\d{1,2}):?(\d\d)?(?:\b|$)`)
	zoneName  = regexp.MustCompile(`\b([a-z]{1,5})\b`)
)

const months = `(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)`

var monthNames = map[string]int{"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12}

var monthWords = map[string]int{"giêng": 1, "một": 1, "hai": 2, "ba": 3, "tư": 4, "bốn": 4, "năm": 5, "sáu": 6, "bảy": 7, "tám": 8, "chín": 9,
	"mười": 10, "mười một": 11, "mười hai": 12, "chạp": 12}

// date finds the date. ISO's order goes first: it begins with four digits.
func (p *parser) date() bool {
	if g := p.take(basicDate); g != nil {
		p.year, p.month, p.day = number(g[1]), number(g[2]), number(g[3])
		if g[4] != "" {
			p.rest = fmt.Sprintf(" %s:%s:%02d %s", g[4], g[5], number(g[6]), p.rest)
		}
		return true
	}
	if g := p.take(isoDate); g != nil {
		p.year, p.month, p.day = number(g[1]), number(g[2]), number(g[3])
		return true
	}
	if g := p.take(wordDate); g != nil {
		p.day, p.year = number(g[1]), number(g[3])
		if p.month = monthWords[g[2]]; p.month == 0 {
			p.month = number(g[2])
		}
		return true
	}
	if g := p.take(plainDate); g != nil {
		p.day, p.month, p.year = number(g[1]), number(g[3]), number(g[5])
		return g[2] == g[4]
	}
	if g := p.take(ansic); g != nil { // Unix's date, in the order of asctime
		p.month, p.day, p.year = monthNames[g[1][:3]], number(g[2]), number(g[5])
		p.rest += " " + g[3] + g[4]
		return true
	}
	if g := p.take(dayMonth); g != nil {
		p.day, p.month, p.year = number(g[1]), monthNames[g[2][:3]], number(g[3])
		if len(g[3]) == 2 { // RFC 822, as RFC 2822 §4.3 reads it
			p.year += 1900
			if p.year < 1950 {
				p.year += 100
			}
		}
		return true
	}
	if g := p.take(monthDay); g != nil {
		p.month, p.day, p.year = monthNames[g[1][:3]], number(g[2]), number(g[3])
		return true
	}
	return false
}

// clock finds the time of the day, if there is one.
func (p *parser) clock() string {
	g := p.take(clockText)
	if g == nil {
		return ""
	}
	p.hour, p.minute, p.second = number(g[1]), number(g[2]), number(g[3])
	p.nano = number((g[4] + "000000000")[:9])
	switch g[5] {
	case "am", "a.m.", "sa", "sáng":
		if p.hour == 12 {
			p.hour = 0
		}
		if p.hour > 12 {
			return fmt.Sprintf("found %d o'clock in the morning", p.hour)
		}
	case "pm", "p.m.", "ch", "chiều", "tối":
		if p.hour < 12 { // "13:39 PM" is common, and clear
			p.hour += 12
		}
	}
	if p.second == 60 { // a leap second
		p.second = 59
	}
	if p.hour > 23 || p.minute > 59 || p.second > 59 {
		return fmt.Sprintf("expected a time from 00:00 to 23:59:59, found %02d:%02d:%02d", p.hour, p.minute, p.second)
	}
	return ""
}

// zones are those of RFC 822 §5, and those that Vietnamese pages name.
var zones = map[string]int{"z": 0, "ut": 0, "utc": 0, "gmt": 0, "ict": 7, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
	"cet": 1, "cest": 2, "jst": 9, "sgt": 8}

// offset finds the zone, if there is one.
func (p *parser) offset() string {
	if g := p.take(zoneText); g != nil {
		seconds := number(g[2])*3600 + number(g[3])*60
		if seconds > 14*3600 {
			return fmt.Sprintf("expected a zone within 14 hours of UTC, found %s", strings.TrimSpace(g[0]))
		}
		if g[1] == "-" {
			seconds = -seconds
		}
		p.zone = time.FixedZone("", seconds)
		return ""
	}
	for _, g := range zoneName.FindAllStringSubmatch(p.rest, -1) {
		if hours, known := zones[g[1]]; known {
			p.zone = time.FixedZone("", hours*3600)
			p.rest = strings.Replace(p.rest, g[1], " ", 1)
			return ""
		}
	}
	return ""
}

// number reads what an expression let pass: digits, or nothing.
func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
