package api_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

var howMany = flag.Int("articles", 300, "articles that are listed while others are edited")

// Some are edited at each tenth of the way: their texts, their times of publication, and others come
// in. The number is a flag.
func TestNoneIsMissedAndNoneDoubledWhileArticlesAreEdited(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	n := *howMany
	store := func(a *article.Article) {
		data, err := a.Encode()
		if err == nil {
			_, err = b.js.PublishAsync(streams.ArticleSubject(streams.KeyOf(a.Site, a.ID)), data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	one := func(i int) *article.Article {
		return an("phuong", fmt.Sprintf("tin-%d", i), func(a *article.Article) { a.Published = day.Add(time.Duration(i/3) * time.Minute) })
	}
	for i := range n {
		store(one(i))
		if i%1000 == 999 { // more may not be under way
			<-b.js.PublishAsyncComplete()
		}
	}
	<-b.js.PublishAsyncComplete()
	last := n
	loatest.Eventually(t, "all articles to be known", func() bool { return b.index.Count() == n })
	random := rand.New(rand.NewPCG(3, 3))
	seen := map[string]int{}
	page := max(1, min(100, n/30))
	began, requests := time.Now(), 0
	for path := fmt.Sprintf("/v1/articles?limit=%d", page); path != ""; requests++ {
		if requests%max(1, n/page/10) == 0 {
			for range 5 {
				a := one(random.IntN(n))
				if a.Title = "Đã sửa"; random.IntN(2) == 0 {
					a.Published = day.Add(time.Duration(random.IntN(n)) * time.Minute)
				}
				store(a)
			}
			store(one(last))
			last++
			<-b.js.PublishAsyncComplete()
		}
		var got listed
		b.get(b.whole, path).into(t, 200, &got)
		for _, a := range got.Articles {
			seen[a["id"].(string)]++
		}
		if path = ""; got.Next != "" {
			path = fmt.Sprintf("/v1/articles?limit=%d&cursor=%s", page, got.Next)
		}
	}
	t.Logf("%d articles in %d requests, %s", len(seen), requests, time.Since(began).Round(time.Millisecond))
	for i := range n {
		if id := fmt.Sprintf("tin-%d", i); seen[id] != 1 {
			t.Errorf("%s was listed %d times", id, seen[id])
		}
	}
}
