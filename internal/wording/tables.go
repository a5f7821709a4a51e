package wording

import "strings"

// set makes a table of words.
func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// lists makes a list of expressions from one a line, the longest first where one begins another.
func lists(text string) [][]string {
	var out [][]string
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			out = append(out, words)
		}
	}
	return out
}

var (
	// fillers say nothing wherever they stand in small letters.
	fillers = set("please kindly actually basically exactly really simply")

	// articles say nothing before a word.
	articles = set("a an the")

	// lettered are the nouns of which there are several with a letter each.
	lettered = set("vitamin hepatitis influenza strep type plan grade group class section part option series exhibit appendix team level league serie variable column point side version figure block unit zone form schedule")
	// wordy words make a question one about words, in which what means the same is not the same.
	wordy = set("word words synonym synonyms antonym antonyms opposite opposites rhyme rhymes spell spelled spelling pronounce pronunciation etymology noun verb plural tense mean means meaning meanings define definition term terms difference differences differ differs different distinguish vs versus compare comparison translate translation say call called")
	// served are the verbs after which "me" says nothing.
	served = set("tell give show help write teach find recommend send make explain take let")

	// separable verbs are other verbs with one of the words that they are partnered with.
	separable = set("turn switch put take plug shut set pick wake fill hang throw give cut break clean back bring call carry hold keep pay point pull push shake slow speed")
	partnered = set("on off up down out in away back over")

	// english and strange words tell whether the tables know a text's language.
	english = set("the is are what how who why when where which do does did can my your of to and for with a i it you this that not be or if from at tell give write")
	strange = set(`der das und ist wie wer wo warum wann ich nicht ein eine einen kein für mit von zu zum zur auf bei den dem des mein meine sie wir kann kannst können
		le la les est que qui comment pourquoi quelle quel quels et un une du au aux je ne pas mon ma mes vous pouvez sont dans avec sans pour
		el los las es cómo quién cuál qué dónde cuándo por para con sin una mi mis puedo yo del al como se y
		il lo gli che chi dove quando perché della del di è sono il mio una uno per posso come si
		het een van hoe wie wat waar waarom niet ik mijn je och det hur vem var inte jag en ett
		o os as um uma não como quem onde meu minha`)

	// auxiliaries carry a question's grammar and no tense but the present.
	auxiliaries = set("is are am do does")

	// modals say what may, can or should be; they are kept apart from the words that they stand between.
	modals = map[string]string{
		"can": "can", "could": "can", "may": "may", "might": "may", "should": "should", "ought": "should", "must": "must", "will": "will", "shall": "will", "would": "would",
	}

	// questions are the words that make a kind of question by themselves.
	questions = set("how when where why who whose whom")

	// prepositions begin a phrase. Those of one name say the same.
	prepositions = map[string]string{
		"in": "in", "within": "in", "inside": "in", "into": "to", "to": "to", "on": "on", "upon": "on", "onto": "on", "at": "at", "for": "for", "from": "from", "with": "with",
		"using": "with", "without": "without", "by": "by", "via": "by", "about": "about", "regarding": "about", "concerning": "about", "than": "than", "before": "before",
		"after": "after", "between": "between", "against": "against", "during": "during", "since": "since", "until": "until", "till": "until", "through": "through",
		"under": "under", "over": "over", "above": "above", "below": "below", "behind": "behind", "near": "near", "as": "as",
	}

	// pointers are the words whose 's is "is".
	pointers = set("what who where when how why it that there here he she this which")

	endings = map[string]string{"re": "are", "m": "am", "ll": "will", "ve": "have", "d": "would"}

	contractions = map[string][]string{
		"can't": {"can", "not"}, "won't": {"will", "not"}, "shan't": {"will", "not"}, "let's": {"let", "us"}, "i'm": {"i", "am"}, "i'd": {"i", "would"},
		"i've": {"i", "have"}, "i'll": {"i", "will"}, "ain't": {"is", "not"},
		"whats": {"what", "is"}, "wheres": {"where", "is"}, "whos": {"who", "is"}, "hows": {"how", "is"}, "dont": {"do", "not"}, "doesnt": {"does", "not"}, "didnt": {"did", "not"},
		"isnt": {"is", "not"}, "arent": {"are", "not"}, "cant": {"can", "not"}, "wont": {"will", "not"}, "im": {"i", "am"}, "ive": {"i", "have"},
	}

	// homographs mean something else with a capital.
	homographs = set(`it us who am pm aids apple amazon windows word excel turkey china polish march may august will mark bill jack rose lily rust go swift ruby shell
		chrome edge safari oracle meta mercury mars earth sun moon pascal basic dart spring flask jobs gates bush cook brown black white green king hunter street
		reading nice bath cork orange jersey guinea cologne lima catholic democrat democratic republican liberal god lent mass sandy dawn faith hope grace joy stone
		target gap ford lincoln trump shell virgin visa delta subway discover dove tide crest square stripe slack zoom teams outlook access`)

	// stiff words look inflected and are not, or mean something else without their end.
	stiff = set(`news goods customs arms glasses physics economics mathematics maths ethics politics series species always perhaps sometimes whereas besides towards
		building painting meeting wedding evening morning training clothing housing feeling meaning being ending beginning savings earnings wing during something
		anything nothing everything king ring thing bring spring string sing swing does has was this thus plus bus gas yes its his hers ours yours theirs
		paris texas kansas athens wales brussels james charles mars texas honduras philippines netherlands maldives bahamas thames less unless across alias
		bias canvas christmas lens means headquarters mumps measles rabies aerobics diabetes gymnastics athletics genetics statistics`)

	// prefaces are said before a question and are no part of it.
	prefaces = lists(`
		hi there
		hi
		hello there
		hello
		hey there
		hey
		good morning
		good evening
		dear assistant
		ok
		okay
		so
		well
		quick question
		question
		please
		kindly
		excuse me
		sorry but
		thanks in advance
		i was just wondering
		i was wondering if you could
		i was wondering
		i am wondering
		i wonder
		just wondering
		i want to know
		i want you to
		i would like to know
		i would like you to
		i would love to know
		i need to know
		i must know
		i need you to
		i am curious
		i am trying to figure out
		i am trying to find
		i do not know
		do you know
		do you happen to know
		do you have any idea
		do you mind telling me
		does anyone know
		does anybody know
		any idea
		any ideas
		thanks
		thank you
		bitte
		kannst du mir sagen
		können sie mir sagen
		kannst du mir bitte sagen
		por favor
		puedes decirme
		podrías decirme
		puede decirme
		s'il vous plaît
		pouvez vous me dire
		peux tu me dire
		per favore
		puoi dirmi
		could someone tell me
		can someone tell me
		can anyone tell me
		could anyone tell me
		can you please
		can you
		could you please
		could you possibly
		could you
		would you please
		would you kindly
		would you mind telling me
		would you
		will you please
		may i ask
		can i ask
		might i ask
		let me know
		help me to
		help me
		i need help with
		i need your help to
		remind me
		if possible`)

	// farewells are said after it.
	farewells = lists(`
		please
		thanks
		thank you
		thanks in advance
		thank you very much
		thanks a lot
		for me
		if you can
		if possible
		kindly
		exactly
		by any chance
		bitte
		danke
		por favor
		gracias
		s'il vous plaît
		merci
		per favore
		grazie
		by the way
		do you know
		cheers`)

	// manners follow "how" where the way to do something is asked for.
	manners = lists(`
		to
		do i go about
		do you go about
		does one go about
		can i go about
		should i go about
		would i go about
		i can
		i could
		we can
		one can
		you can
		do i
		do we
		do you
		does one
		does someone
		can i
		can we
		can you
		can one
		could i
		could we
		could you
		might i
		would i
		would we
		would you
		would one`)

	expressions = phrasebook(`
		what is the best way to = how to
		what is the best way of = how to
		what is the best method to = how to
		what is the right way to = how to
		what is the proper way to = how to
		what is the correct way to = how to
		what is the way to = how to
		what is a good way to = how to
		what is the procedure to = how to
		what is the procedure for = how to
		what is the process of = how to
		what is the process for = how to
		what is the process to = how to
		what is a way to = how to
		what are the steps to = how to
		what are the steps for = how to
		what are the ways to = how to
		what are ways to = how to
		what steps do i take to = how to
		what should i do to = how to
		what do i do to = how to
		what must i do to = how to
		which steps do i take to = how to
		the best way to = how to
		the way to = how to
		the steps to = how to
		is there a way to = how to
		is there any way to = how to
		is there a way for me to = how to
		is there a method to = how to
		instructions for = how to
		instructions to = how to
		instructions on how to = how to
		best way to = how to
		steps to = how to
		what is the reason for = why
		what is the reason that = why
		what is the reason why = why
		what is the reason = why
		what are the reasons for = why
		for what reason = why
		for which reason = why
		how come = why
		what is the number of = how many
		what number of = how many
		what is the amount of = how much
		the number of = how many
		is it possible to = can i
		is it possible for me to = can i
		am i able to = can i
		are we able to = can i
		am i allowed to = may i
		are we allowed to = may i
		is it allowed to = may i
		is it permitted to = may i
		am i permitted to = may i
		is it a good idea to = should i
		do i have to = must i
		do we have to = must i
		do i need to = must i
		do we need to = must i
		is it necessary to = must i
		am i required to = must i
		have to = must
		has to = must
		need to = must
		needs to = must
		required to = must
		going to = will
		at what time = when
		what is meant by = what is the meaning of
		what is the definition of = define
		give me the definition of = define
		definition of = define
		log in = login
		log into = login to
		log on = login
		sign in = login
		sign into = login to
		sign on = login
		log out = logout
		log off = logout
		sign out = logout
		sign up = register
		set up = setup
		get rid of = remove
		help me understand = explain
		do i need a = must i have a
		do i need an = must i have an
		do we need a = must we have a
		in what year = when
		in which year = when
		what year did = when did
		what year was = when was
		what year were = when were
		on what date = when
		on which date = when
		how is the weather = what is the weather like
		would it take me to = does it take to
		would it take to = does it take to
		will it take me to = does it take to
		does it take me to = does it take to
		what is the height of = how tall is
		what is the age of = how old is
		what is the depth of = how deep is
		what is the length of = how long is
		what is the width of = how wide is
		what is the weight of = how heavy is
		what is the population of = how many people live in
		who is the author of = who wrote
		who is the writer of = who wrote
		who is the inventor of = who invented
		who is the painter of = who painted
		who is the founder of = who founded
		who is the discoverer of = who discovered
		what is the cause of = what causes
		what are the causes of = what causes
		benefits of = advantages of
		drawbacks of = disadvantages of
		downsides of = disadvantages of
		ask for = request
		find out = find
		figure out = find
		in order to = to
		so as to = to
		a lot of = many
		lots of = many
		plenty of = many
		a few = few:some
		a little = little:some
		a bit = little:some
		as well as = and
		due to = because of
		owing to = because of
		with the help of = with
		by means of = with
		by using = with
		with regard to = about
		with respect to = about
		in regards to = about
		up to date = uptodate
		e mail = email
		e-mail = email
		web site = website
		data base = database
		file name = filename
		the united states of america = usa
		the united states = usa
		the usa = usa
		the united kingdom = uk
		the uk = uk
		poem on = poem about
		essay on = essay about
		article on = article about
		story on = story about
		report on = report about
		paper on = paper about
		book on = book about
		books on = books about
		information on = information about
		tips on = tips for
		tips to = tips for
		advice on = advice about
		summary of = summarize
		overview of = summarize
		translation of = translate
		list of = list
		for free = free
		free of charge = free
		at no cost = free
		right now = now
		at the moment = now
		at present = now
		these days = now`)
)

// expression is a fixed expression and what stands for it.
type expression struct{ is, stands []string }

// phrasebook makes a table of expressions by their first words, longer ones first.
func phrasebook(text string) map[string][]expression {
	m := map[string][]expression{}
	for line := range strings.Lines(text) {
		is, stands, ok := strings.Cut(line, " = ")
		if !ok {
			continue
		}
		e := expression{strings.Fields(is), strings.Fields(stands)}
		list := m[e.is[0]]
		at := 0
		for at < len(list) && len(list[at].is) >= len(e.is) {
			at++
		}
		m[e.is[0]] = append(list[:at:at], append([]expression{e}, list[at:]...)...)
	}
	return m
}
