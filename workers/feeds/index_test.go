package feeds

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// TestIndexAgreesWithTheLog applies any versions of any articles, in any batches, some again
// and some that are out of date. What the index holds is then what the log's current versions
// give, as far as the index reaches: down to its floor.
func TestIndexAgreesWithTheLog(t *testing.T) {
	const keep = 6
	rapid.Check(t, func(t *rapid.T) {
		h := &held{}
		log := map[streams.Key]change{}
		var ever []change
		seq := uint64(0)
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			var batch []change
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				seq++
				n := rapid.IntRange(0, 15).Draw(t, "article")
				c := change{key: streams.Key(fmt.Sprintf("s.%02d", n)), seq: seq}
				if rapid.IntRange(0, 3).Draw(t, "shown") > 0 {
					minute := rapid.IntRange(0, 12).Draw(t, "minute")
					at := sample.Base.Add(time.Duration(minute) * time.Minute).UTC()
					c.shown = &ref{Key: c.key, Seq: seq, place: place{at, string(c.key)}}
				}
				log[c.key] = c
				ever = append(ever, c)
				batch = append(batch, c)
			}
			if len(ever) > 0 { // a late answer about what the index holds
				old := rapid.SampledFrom(ever).Draw(t, "repeated")
				if slices.ContainsFunc(h.Refs, func(r ref) bool { return r.Key == old.key }) || old.seq == log[old.key].seq {
					batch = append(batch, old)
				}
			}
			h.apply(latestOf(batch))
			h.trim(keep)
		}
		var want []ref
		for _, c := range log {
			if c.shown != nil && (h.Floor == nil || c.shown.compare(*h.Floor) < 0) {
				want = append(want, *c.shown)
			}
		}
		slices.SortFunc(want, func(a, b ref) int { return a.compare(b.place) })
		if !slices.Equal(h.Refs, want) || len(h.Refs) > keep {
			t.Fatalf("index holds\n%v\nfloor %v, want\n%v", h.Refs, h.Floor, want)
		}
	})
}

// latestOf keeps the last of each article's changes, as reading the log does.
func latestOf(batch []change) []change {
	var out []change
	for _, c := range batch {
		if !slices.ContainsFunc(batch, func(d change) bool { return d.key == c.key && d.seq > c.seq }) {
			out = append(out, c)
		}
	}
	return out
}

func TestLabelIsTheLatestArticles(t *testing.T) {
	shown := func(key streams.Key, seq uint64, label string) change {
		return change{key: key, seq: seq, label: label, shown: &ref{Key: key, Seq: seq, place: place{sample.Base, string(key)}}}
	}
	h := &held{}
	h.apply([]change{shown("s.1", 8, "Y tế"), shown("s.2", 3, "Sức khỏe")})
	h.apply([]change{shown("s.3", 5, "Y học"), shown("s.4", 9, "")})
	if h.Label != "Y tế" {
		t.Errorf("label %q", h.Label)
	}
}

func TestCacheForgetsWhatWasUsedLongestAgo(t *testing.T) {
	c := newCache[string](10, func(n int) int { return n })
	c.put("a", 4)
	c.put("b", 4)
	c.get("a")
	c.put("c", 4)
	if c.get("a") != 4 || c.get("b") != 0 || c.get("c") != 4 {
		t.Errorf("a %d, b %d, c %d", c.get("a"), c.get("b"), c.get("c"))
	}
	c.put("a", 7) // makes no room for c
	if c.get("a") != 7 || c.get("c") != 0 || c.total != 7 {
		t.Errorf("a %d, c %d, total %d", c.get("a"), c.get("c"), c.total)
	}
}
