package api

// words are the page's own texts in one language.
type words struct {
	Title, Lead, Contents, OtherName         string
	Start, Access, Rates, Caching, Copy      string
	Article, ArticleText, Errors, ErrorsText string
	Embed, EmbedText, EmbedStyle, OEmbed     string
	Statuses                                 []nameView
}

var wordsIn = map[string]words{
	english: {
		Title: "Partner API", OtherName: "Tiếng Việt", Contents: "Contents",
		Lead:    "Articles of public portals, for those who keep a copy of them or show some. Described for programs in OpenAPI 3.1:",
		Start:   "Getting started",
		Access:  "Whoever runs this Loa gives you a key, which you send with every request. What is public is shown without one. A key may be for some sites, and for summaries only; what it does not cover does not exist for it.",
		Rates:   "Every answer says how often you may ask: RateLimit-Policy (q requests in w seconds) and RateLimit (r are left, all are back in t seconds). Who asks more often is answered 429, with Retry-After.",
		Caching: "Answers have an ETag: send it back as If-None-Match, and what has not changed is answered 304. They are compressed for who sends Accept-Encoding: gzip.",
		Copy:    "To keep a copy, read the changes from the beginning, keep next, and go on with it as cursor, for ever. An article that was withdrawn is among them: remove it.",
		Article: "What an article holds", ArticleText: "Members without a value are left out.",
		Errors: "Errors", ErrorsText: "An error is a problem as RFC 9457 has it (application/problem+json), which names every parameter that is wrong.",
		Statuses: []nameView{
			{Name: "401", Text: "A key is needed, or the one that was sent is not valid."},
			{Name: "404", Text: "There is nothing, at least for you."},
			{Name: "410", Text: "The article was withdrawn: remove it. Or the cursor is of a log that was restored since: begin anew."},
			{Name: "422", Text: "A parameter is wrong; errors says which, and what was expected."},
			{Name: "429", Text: "Too often: wait for as many seconds as Retry-After says."},
			{Name: "503", Text: "Not available at the moment: likewise."},
		},
		Embed:      "On your own pages",
		EmbedText:  "This line shows the headlines of a feed. It sets no cookie and stores nothing; the space is reserved, so that your page does not move; where scripts are blocked, the link stays. data-feed is the id of a feed, as /v1/feeds lists them. Further: data-limit, data-images=\"yes\", data-dates=\"no\", data-target=\"_blank\".",
		EmbedStyle: "It looks like your page. What you want otherwise, set as custom properties of the element:",
		OEmbed:     "Single articles are embedded by oEmbed, with the address of an article's page; systems that know oEmbed find it by themselves, from the Link header of the article.",
	},
	vietnamese: {
		Title: "API dành cho đối tác", OtherName: "English", Contents: "Mục lục",
		Lead:    "Tin bài của các cổng thông tin điện tử, dành cho đơn vị lưu bản sao hoặc đăng lại. Mô tả cho máy đọc theo OpenAPI 3.1:",
		Start:   "Bắt đầu",
		Access:  "Đơn vị vận hành Loa cấp cho bạn một khóa; gửi khóa đó kèm mỗi yêu cầu. Nội dung công khai xem được mà không cần khóa. Một khóa có thể chỉ dành cho một số trang và chỉ cho xem tóm tắt; những gì ngoài phạm vi của khóa coi như không tồn tại.",
		Rates:   "Mỗi câu trả lời cho biết bạn được hỏi bao nhiêu lần: RateLimit-Policy (q yêu cầu trong w giây) và RateLimit (còn r yêu cầu, đầy lại sau t giây). Hỏi nhiều hơn thì nhận 429 kèm Retry-After.",
		Caching: "Câu trả lời có ETag: gửi lại bằng If-None-Match, nếu không có gì thay đổi thì nhận 304. Câu trả lời được nén nếu bạn gửi Accept-Encoding: gzip.",
		Copy:    "Để giữ một bản sao, hãy đọc các thay đổi từ đầu, lưu lại next rồi dùng nó làm cursor để đọc tiếp, mãi mãi. Bài bị gỡ cũng nằm trong đó: hãy xóa bài ấy.",
		Article: "Nội dung của một bài", ArticleText: "Trường không có giá trị thì được bỏ qua.",
		Errors: "Lỗi", ErrorsText: "Lỗi được trả về theo RFC 9457 (application/problem+json), nêu rõ từng tham số sai.",
		Statuses: []nameView{
			{Name: "401", Text: "Cần có khóa, hoặc khóa đã gửi không hợp lệ."},
			{Name: "404", Text: "Không có gì ở đây, ít nhất là đối với bạn."},
			{Name: "410", Text: "Bài đã bị gỡ: hãy xóa bài. Hoặc cursor thuộc về một nhật ký đã được khôi phục: hãy bắt đầu lại."},
			{Name: "422", Text: "Có tham số sai; errors cho biết tham số nào và giá trị mong đợi."},
			{Name: "429", Text: "Hỏi quá nhiều: hãy chờ số giây mà Retry-After nêu."},
			{Name: "503", Text: "Tạm thời không phục vụ được: cũng hãy chờ như vậy."},
		},
		Embed:      "Trên trang của bạn",
		EmbedText:  "Dòng này hiển thị tiêu đề tin của một nguồn tin. Không đặt cookie, không lưu gì; chỗ hiển thị được giữ sẵn nên trang không bị xô lệch; nơi chặn script thì vẫn còn liên kết. data-feed là mã của nguồn tin, có trong /v1/feeds. Ngoài ra: data-limit, data-images=\"yes\", data-dates=\"no\", data-target=\"_blank\".",
		EmbedStyle: "Khung tin theo kiểu chữ và màu của trang. Muốn khác, hãy đặt các thuộc tính CSS sau cho phần tử:",
		OEmbed:     "Từng bài được nhúng bằng oEmbed theo địa chỉ trang của bài; hệ thống hỗ trợ oEmbed tự tìm thấy qua tiêu đề Link của bài.",
	},
}

// operationsInVietnamese are the summary and the description of each operation.
var operationsInVietnamese = map[string][2]string{
	"list-articles":  {"Danh sách bài", "Theo từng trang, bài đăng mới nhất đứng trước. Đi theo next đến hết thì mỗi bài xuất hiện đúng một lần, dù trong lúc đó có bài được sửa, đăng hay gỡ. Muốn giữ bản sao, hãy theo dõi /v1/changes."},
	"get-article":    {"Đọc một bài", "Dạng JSON, ninjs 3.1 hoặc một đoạn HTML, theo Accept hoặc format. Bài đã gỡ được trả lời bằng 410 cùng phần còn lại của bài: ai có bản sao phải xóa."},
	"list-versions":  {"Các phiên bản của một bài", "Phiên bản hiện tại và các phiên bản trước, mới nhất đứng trước, trong thời gian còn được lưu: thường là 30 ngày. Những gì đã gỡ không được liệt kê. Đọc một phiên bản bằng ?version= ở địa chỉ của bài; không có ảnh."},
	"list-changes":   {"Theo dõi thay đổi", "Mọi thay đổi và mọi lần gỡ bài, theo thứ tự: mỗi bài chỉ có phiên bản mới nhất, một lần. Lưu lại next và hỏi tiếp với cursor đó; nếu có wait, câu trả lời đến ngay khi có thay đổi. Bản sao làm như vậy luôn đầy đủ, dù đã ngừng bao lâu."},
	"stream-changes": {"Theo dõi thay đổi bằng luồng sự kiện", "Như trên, dạng Server-Sent Events: /v1/changes với Accept: text/event-stream là cùng một địa chỉ. id của mỗi sự kiện là một cursor, event là loại, data là thay đổi. EventSource tự nối lại từ chỗ bị ngắt."},
	"list-sites":     {"Danh sách trang", "Những trang mà bạn được đọc bài, theo dạng cây."},
	"list-feeds":     {"Danh sách nguồn tin", "Của những trang mà bạn được đọc bài. Nguồn tin là công khai, không cần khóa."},
}

// namesInVietnamese say what parameters and the members of an article are.
var namesInVietnamese = map[string]string{
	"site":          "Mã của trang.",
	"subtree":       "Chỉ bài của trang này và các trang trực thuộc.",
	"category":      "Chỉ bài thuộc chuyên mục có mã này.",
	"tag":           "Chỉ bài có thẻ này, theo Unicode NFC.",
	"language":      "Chỉ bài bằng ngôn ngữ này, như ghi trong bài: vi, en.",
	"urgency":       "Chỉ bài khẩn ít nhất bằng mức này: 1 là khẩn nhất.",
	"since":         "Chỉ bài đăng từ thời điểm này trở đi.",
	"until":         "Chỉ bài đăng trước thời điểm này.",
	"status":        "Những bài nào: đang đăng (live), đã gỡ (withdrawn), hoặc tất cả (all).",
	"limit":         "Số bài hoặc số thay đổi tối đa trong một câu trả lời. Có thể ít hơn.",
	"cursor":        "next của câu trả lời trước, giữ nguyên. Với các thay đổi: bỏ trống để đọc từ đầu, now để chỉ đọc từ bây giờ.",
	"fields":        "Các trường cần lấy của mỗi bài, cách nhau bằng dấu phẩy; all là tất cả.",
	"id":            "Mã của bài tại trang đó.",
	"version":       "Một phiên bản trước, theo số, trong thời gian còn được lưu.",
	"format":        "Định dạng, bất kể Accept.",
	"Accept":        "application/json, application/vnd.iptc.ninjs+json hoặc text/html.",
	"wait":          "Chờ bao nhiêu giây nếu chưa có thay đổi nào.",
	"Last-Event-ID": "id của sự kiện cuối cùng đã nhận; được ưu tiên hơn cursor.",

	"article.guid":        "Mã định danh vĩnh viễn, dạng URN; giống nhau trong mọi nguồn tin.",
	"article.site":        "Mã của trang.",
	"article.site_name":   "Tên của trang.",
	"article.id":          "Mã của bài tại trang đó.",
	"article.version":     "Số phiên bản do trang đặt; chỉ tăng.",
	"article.revision":    "Số lần Loa tự thay đổi phiên bản đó: ảnh đến muộn, bài hết hạn.",
	"article.status":      "Bài đang đăng (live) hay đã gỡ (withdrawn).",
	"article.url":         "Địa chỉ trang của bài.",
	"article.title":       "Tiêu đề, văn bản thuần.",
	"article.summary":     "Tóm tắt, văn bản thuần.",
	"article.body":        "Nội dung HTML đã làm sạch, địa chỉ tuyệt đối.",
	"article.language":    "Ngôn ngữ, theo BCP 47.",
	"article.authors":     "Tác giả.",
	"article.categories":  "Chuyên mục: mã và tên.",
	"article.tags":        "Thẻ.",
	"article.urgency":     "Mức khẩn theo IPTC: 1 là khẩn nhất, 5 là thường, 8 là thấp nhất.",
	"article.published":   "Thời điểm đăng.",
	"article.updated":     "Thời điểm cập nhật.",
	"article.expires_at":  "Thời điểm bài tự gỡ.",
	"article.correction":  "Nội dung đính chính của phiên bản này, dành cho người đọc.",
	"article.source":      "Nơi đăng đầu tiên, nếu là nơi khác.",
	"article.places":      "Địa điểm.",
	"article.rights":      "Bản quyền và điều khoản sử dụng.",
	"article.images":      "Ảnh, với các kích cỡ, chú thích và văn bản thay thế.",
	"article.attachments": "Tệp đính kèm.",
	"article.withdrawal":  "Vì sao bài không còn được đăng, và bài thay thế.",
}
