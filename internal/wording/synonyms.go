package wording

import "strings"

// synonyms gives every word of a group the group's first word. A group holds what means the same in every question that one may ask; what only often
// does is not here.
var synonyms = groups(`
	buy purchase
	begin start commence
	finish complete
	repair fix mend
	delete erase
	modify alter
	big large
	bigger larger
	biggest largest
	fast quick rapid speedy
	faster quicker
	fastest quickest
	quickly rapidly swiftly
	smart clever intelligent
	movie film
	photo photograph
	child kid
	doctor physician
	car automobile
	bike bicycle
	phone telephone
	tv television
	fridge refrigerator
	pc computer
	price cost
	method way approach
	use utilize utilise
	help assist
	get obtain acquire
	choose select pick
	show display
	summarize summarise summary
	stay remain
	ill sick unwell
	illness disease sickness
	salary wage
	autumn fall
	vacation holiday
	wrong incorrect
	rich wealthy
	error mistake
	rubbish garbage trash
	author writer
	gas gases
	colour color
	favourite favorite
	flavour flavor
	behaviour behavior
	neighbour neighbor
	labour labor
	honour honor
	humour humor
	harbour harbor
	centre center
	theatre theater
	grey gray
	organise organize
	recognise recognize
	analyse analyze
	optimise optimize
	realise realize
	apologise apologize
	minimise minimize
	maximise maximize
	initialise initialize
	visualise visualize
	serialise serialize
	normalise normalize
	customise customize
	aluminium aluminum
	jewellery jewelry
	kg kilogram kilogramme kilo
	g gram gramme
	km kilometre kilometer
	cm centimetre centimeter
	mm millimetre millimeter
	lb pound lbs
	oz ounce
	mi mile
	ft foot feet
	min minute
	sec second
	hr hour
	% percent
	js javascript
	postgres postgresql
	k8s kubernetes
	db database
	repo repository
	config configuration
	app application
	docs documentation
	info information
	cancel cancellation
	1 one
	2 two
	3 three
	4 four
	5 five
	6 six
	7 seven
	8 eight
	9 nine
	10 ten
	11 eleven
	12 twelve
	20 twenty
	30 thirty
	40 forty
	50 fifty
	1st first
	3rd third
	4th fourth
	5th fifth
	jan january
	feb february
	sept september
	oct october
	nov november
	dec december
	and &`)

func groups(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		for _, w := range words {
			m[w] = words[0]
		}
	}
	return m
}
