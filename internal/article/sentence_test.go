package article

import (
	"strings"
	"testing"
)

// TestSentences holds texts in which "¶" marks each end of a sentence but the last: every
// other stop belongs to what stands before it.
func TestSentences(t *testing.T) {
	for _, marked := range []string{
		// Plain sentences.
		"Trời đã tạnh mưa.¶ Bà con ra đồng.",
		"Đường đã thông xe!¶ Ai cũng vui.",
		"Vì sao nước dâng nhanh như vậy?¶ Các kỹ sư đang tìm câu trả lời.",
		"Mưa lớn… rồi tạnh hẳn.¶ Đường khô.",
		"Chợ vẫn mở cửa…¶ Người mua thưa dần.",
		"Phiên họp kết thúc lúc 17 giờ.¶ 300 đại biểu tham dự.",
		"Cầu dài 1.200 m.¶ 24 nhịp đã lắp xong.",
		"Ngày hội bắt đầu!!!¶ Mọi người đều đến.",
		"Xe dừng lại…!¶ Không ai bị thương.",

		// Numbers, dates, times.
		"Tổng vốn là 81.033,18 tỷ đồng.¶ Nguồn vốn lấy từ ngân sách.",
		"Giá xăng giảm 1.250 đồng, còn 21.870 đồng một lít.¶ Giá dầu giữ nguyên.",
		"Lễ khai mạc diễn ra ngày 7/8/2023.¶ Hàng nghìn người dự.",
		"Từ 7.8.2023 đến 9.8.2023 trường nghỉ.¶ Học sinh học bù sau.",
		"Cuộc họp bắt đầu lúc 8.30 tại hội trường.¶ Ông Hai chủ trì.",
		"Tỷ lệ đạt 99.5% kế hoạch năm 2024.¶ Các phường còn lại đạt 80%.",
		"Bài thi được 8,5 điểm.¶ Em đứng đầu lớp.",
		"Diện tích 12.345,6 m2.¶ Khu đất thuộc xã Hòa Bình.",
		"Tin đăng năm 2024.¶ Ảnh chụp năm 2023.",

		// Places.
		"Ông sống tại TP. Hà Nội từ nhỏ.¶ Ông làm thợ mộc.",
		"Đoàn công tác đến TP. Hồ Chí Minh sáng nay.¶ Đoàn làm việc hai ngày.",
		"Xe từ TP.HCM đi Tp. Cần Thơ bị chậm.¶ Hành khách chờ lâu.",
		"Nhà ở Q. 3 được sửa.¶ Nhà ở Q.1 thì chưa.",
		"Người dân P. Bến Nghé đã nhận thẻ.¶ Phường phát trong ba ngày.",
		"Trụ sở đặt tại P. 5, Q. Tân Bình, TP. HCM.¶ Giờ làm việc không đổi.",
		"Dự án nằm ở H. Bình Chánh.¶ Theo kế hoạch, việc thi công bắt đầu tháng sau.",
		"Chợ TT. Liên Nghĩa mở lại.¶ Tiểu thương phấn khởi.",
		"Từ TX. Sơn Tây về TP. Bà Rịa mất một ngày.¶ Đường xa.",
		"Khách đến TP. Tuy Hòa tăng.¶ Tuy nhiên, phòng vẫn đủ.",
		"Nhà số 12, đường Đ. Nguyễn Huệ bị ngập.¶ Nước rút vào buổi chiều.",
		"Học sinh ở KP. 4 được tặng sách.¶ Sách do phường mua.",
		"Ông rời TP.¶ Sau đó ông về quê.",
		"Kế hoạch do UBND TP.¶ Theo đó, mỗi phường có một điểm trực.",

		// People.
		"ThS. Nguyễn Thị Lan trình bày báo cáo.¶ Hội trường kín chỗ.",
		"Theo PGS. TS. Trần Văn Bình, lũ sẽ lên.¶ Người dân cần chuẩn bị.",
		"GS.TS. Lê Minh và BS. Phạm Hoa cùng dự.¶ Buổi lễ kéo dài một giờ.",
		"PGS.TS Vũ Hà chủ trì.¶ Ông kết luận ngắn gọn.",
		"BS. Hòa khám cho 50 người.¶ Thuốc được phát miễn phí.",
		"TS. Đỗ Quang là chủ nhiệm đề tài.¶ Đề tài kéo dài hai năm.",
		"Công an tạm giữ ông Ng. V. A. để điều tra.¶ Vụ việc xảy ra tối qua.",
		"Bị hại là bà Tr. Th. B. ở phường 5.¶ Bà đã xuất viện.",
		"Người lái xe là Ng. V. Hùng.¶ Anh khai đã ngủ gật.",
		"Nghi phạm là Lê Văn C.¶ Theo điều tra ban đầu, người này đã bỏ trốn.",
		"Giải nhất thuộc về NSƯT. Kim Cương.¶ Khán giả vỗ tay.",
		"Thư gửi đ/c. Nguyễn Văn Linh đã được công bố.¶ Thư viết năm 1960.",
		"KT. Chủ tịch đã ký văn bản.¶ Văn bản có hiệu lực ngay.",
		"KTS. Hoàng vẽ lại ngôi đình.¶ Đình xây từ thế kỷ 18.",

		// Other abbreviations.
		"Chợ bán rau, cá, thịt, v.v. cho cả vùng.¶ Giá phải chăng.",
		"Hội có lân, trống, múa rối, v.v.¶ Trẻ em rất thích.",
		"Xem tr. 15 của báo cáo.¶ Phụ lục ở cuối.",
		"Sách do NXB. Trẻ in.¶ Bản in có hai màu.",
		"Liên hệ ĐT. 0283 822 1234 để đăng ký.¶ Đăng ký trước thứ Sáu.",
		"Vitamin C.¶ Theo bác sĩ, nên ăn cam.",
		"Cty. Cấp nước sẽ sửa ống.¶ Nước cúp hai giờ.",
		"BV. Chợ Rẫy nhận 12 ca.¶ Không ai nguy kịch.",

		// Numbered parts.
		"Điều 3. Phạm vi áp dụng của quy định này là toàn tỉnh.¶ Quy định có hiệu lực từ hôm nay.",
		"Căn cứ Điều 3. Luật Đất đai, hồ sơ hợp lệ.¶ Hồ sơ được trả trong tuần.",
		"Việc này được nêu tại Điều 3.¶ Theo đó, người dân được bồi thường.",
		"1. Mục tiêu chung là giảm nghèo.¶ Ngân sách là hai tỷ.",
		"II. Nhiệm vụ được giao cho các phường.¶ Hạn chót là tháng 9.",
		"a. Giấy khai sinh bản sao.¶ Giấy này cần chứng thực.",
		"Phụ lục I. Danh sách các hộ.¶ Danh sách gồm 40 hộ.",

		// Quotations and brackets.
		"“Nước lên nhanh quá!” bà Sáu kể.¶ Cả xóm thức trắng.",
		"“Sao chưa sửa đường?” – một người hỏi.¶ Chủ tịch phường trả lời ngay.",
		"Ông nói: “Chúng tôi sẽ làm xong.”¶ Mọi người vỗ tay.",
		"Ông nói: \"Chúng tôi sẽ làm xong.\"¶ Mọi người vỗ tay.",
		"Cầu đã thông xe (xem ảnh bên dưới.)¶ Xe tải vẫn bị cấm.",
		"Chương trình “Xuân yêu thương” tặng quà.¶ “Tôi rất vui.” là lời cụ Tư.",
		"Giá tăng 5% [theo báo cáo quý.]¶ Quý sau sẽ giảm.",

		// Addresses.
		"Đăng ký tại www.hoabinh.example.vn trước ngày 15.¶ Hồ sơ gồm hai bản.",
		"Gửi thư về toasoan@bao.example.vn.¶ Tòa soạn trả lời trong tuần.",
		"Xem https://example.vn/a.b/c.html?x=1.2 để biết thêm.¶ Trang có bản đồ.",
		"Theo Chinhphu.vn, nghị định đã ký.¶ Nghị định có 12 điều.",

		// English.
		"Dr. Smith met Mr. Jones in St. Louis.¶ They signed the deal.",
		"The loan is No. 5 on the list.¶ It was paid on Sept. 3 in full.",
		"Prices rose 3.5 percent, i.e. more than planned.¶ The bank was surprised.",
		"He works at Acme Corp.¶ She does not.",
	} {
		text := strings.ReplaceAll(marked, "¶", "")
		ends := map[int]bool{}
		for limit := range text {
			ends[lastSentenceEnd(text, limit)] = true
		}
		var got strings.Builder
		for i, r := range text {
			if ends[i] && i > 0 && i < len(text) {
				got.WriteRune('¶')
			}
			got.WriteRune(r)
		}
		if got.String() != marked {
			t.Errorf("got  %s\nwant %s", got.String(), marked)
		}
	}
}
