package config

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/secret"
)

// wanted is the error of a value that cannot be read: what should have been there instead.
type wanted string

func (w wanted) Error() string { return "expected " + string(w) }

const (
	wantDuration wanted = "a duration such as 15s, 2m or 1h30m"
	wantSize     wanted = "a size such as 512KiB, 30MiB or 8GiB"
	wantCount    wanted = "a number such as 50000000 or 50M"
	wantRate     wanted = "a rate such as 20/s, 600/m or 3600/h"
	wantPrefix   wanted = "an address or a range of addresses such as 10.1.0.0/16"
)

// Size is in bytes. It is written as 30MiB; a bare number is bytes, and MB means MiB: nobody
// who writes a limit means the 5 % between them.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	n, ok := scaled(string(text), map[string]float64{
		"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "mib": 1 << 20,
		"g": 1 << 30, "gb": 1 << 30, "gib": 1 << 30, "t": 1 << 40, "tb": 1 << 40, "tib": 1 << 40,
	})
	if !ok {
		return wantSize
	}
	*s = Size(n)
	return nil
}

// String gives the size in the greatest unit that it is a whole number of.
func (s Size) String() string {
	for _, unit := range []struct {
		name  string
		bytes Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s >= unit.bytes && s%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", s/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

// Count is a number of things. It is written as 50000000 or 50M.
type Count int64

// UnmarshalText reads a count.
func (c *Count) UnmarshalText(text []byte) error {
	n, ok := scaled(string(text), map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9})
	if !ok {
		return wantCount
	}
	*c = Count(n)
	return nil
}

// scaled reads a number that is not negative, with one of the units behind it.
func scaled(text string, units map[string]float64) (int64, bool) {
	text = strings.TrimSpace(text)
	digits := len(text) - len(strings.TrimLeft(text, "0123456789.")) // no sign, exponent, inf or nan
	factor, known := units[strings.ToLower(strings.TrimSpace(text[digits:]))]
	n, err := strconv.ParseFloat(text[:digits], 64)
	if n *= factor; err != nil || !known || n >= math.MaxInt64 || n != math.Trunc(n) {
		return 0, false
	}
	return int64(n), true
}

// Rate is per second. It is written as 20/s, 600/m or 3600/h.
type Rate float64

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	number, unit, _ := strings.Cut(string(text), "/")
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[strings.TrimSpace(unit)]
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || seconds == 0 || !(n > 0) || math.IsInf(n, 0) {
		return wantRate
	}
	*r = Rate(n / seconds)
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, wantDuration
	}
	return d, nil
}

// parsePrefix reads 10.1.0.0/16, or a single address.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, wantPrefix
	}
	if p != p.Masked() {
		return netip.Prefix{}, wanted("the first address of the range: " + p.Masked().String())
	}
	return p, nil
}

// Secret is a password or key, which shows itself to nobody.
type Secret = secret.Secret
