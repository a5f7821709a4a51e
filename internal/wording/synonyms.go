package wording

import "strings"

// synonyms gives every word of a group the group's first word. A group holds what means the same in every question that one may ask; what only often
// does is not here.
var synonyms = groups(`
	purchase buy
	begin start commence
	finish complete
	repair fix mend
	delete erase
	remove uninstall
	alter modify
	big large
	tiny minuscule
	fast quick rapid speedy
	quickly rapidly swiftly
	smart clever intelligent
	movie film
	photo photograph
	child kid
	physician doctor
	car automobile
	bike bicycle
	phone telephone
	cellphone smartphone mobile-phone
	tv television
	fridge refrigerator
	laptop notebook-computer
	pc computer
	price cost
	method way approach
	utilize use
	assist help aid
	obtain get acquire
	select choose pick
	display show
	summarize summarise summary
	answer reply respond
	illness sickness
	salary wage
	job occupation
	autumn fall-season
	holiday vacation
	correct right
	incorrect wrong
	wealthy rich
	gift present-gift
	error mistake
	town small-town
	ocean sea-ocean
	rubbish garbage trash
	author writer
	near close-to
	tall tall
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
	metre meter m-metre
	litre liter
	grey gray
	programme program
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
	tyre tire-wheel
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
	sec second-time
	hr hour h
	% percent
	usa us-country
	email mail-electronic
	website site webpage-site
	picture image
	password passcode
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
	install installation
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
	100 hundred
	1st first
	2nd second
	3rd third
	4th fourth
	5th fifth
	jan january
	feb february
	sept september
	oct october
	nov november
	dec december
	&  and`)

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
