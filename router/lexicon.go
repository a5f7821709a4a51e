package router

// A group is one feature: words and phrases that say the same of a prompt. However often they come, a group counts at most twice a single
// hit, so no single word decides, and a prompt cannot buy a route by repeating itself.
type group struct {
	name   string
	words  string // words and phrases of up to maxPhrase tokens, separated by commas; accents and case do not matter; each CJK character is a token
	scores []score
	gain   float64 // for one hit
	task   bool    // names what is to be done: counts less in the middle of a long text, where it is material
}

type score struct {
	class  int
	weight float64
}

// Groups that the lexicon fills from words, then those that the surface of the text fills.
const (
	gTranslate = iota
	gLanguage
	gSummarize
	gRewrite
	gExtract
	gJSON
	gClassify
	gCreative
	gWriting
	gCompose
	gRoleplay
	gGreeting
	gAdvice
	gPlan
	gPlanHard
	gCodeLang
	gCodeWord
	gDebug
	gCodeHard
	gProof
	gMathAdv
	gMathWord
	gReason
	gKnow
	gExpert
	gDeep
	gEasy
	gCommon
	gMeta
	gTalk
	gCodeSurface
	gMathSurface
	gNumbers
	gLog
	gOptions
	gLong
	gShort
	gQuestion
	numGroups
)

// lexicon is the whole knowledge of the heuristic. It is written by hand: English first, then the imperative words of the languages
// that come most.
var lexicon = [numGroups]group{
	gTranslate: {name: "translate", task: true, scores: []score{{translation, 4.2}}, gain: -.02,
		words: "translate,translation,translated,translating,translte,tranlate,into french,into german,into spanish,into english,into italian,into japanese,into chinese,into arabic,into russian,into portuguese,into dutch,into korean,into polish,into turkish,into hindi,in spanish,in french,in german please,to spanish,to french,to german,to english,to italian,to japanese,how do you say,how do i say,how would you say,in italian,in japanese,need this in," +
			"traduce,traducir,traduis,traduire,traduisez,traduction,traduccion,traduzca,ubersetze,ubersetz,ubersetzen,ubersetzung,traduci,tradurre,traduza,traduzir,traduz,vertaal,vertalen,przetlumacz,переведи,переведите,перевести,перевод,翻译,翻譯,翻訳,번역,译成,ترجم,çevir,cevir"},
	gLanguage: {name: "language name", scores: []score{{translation, .5}},
		words: "french,german,spanish,italian,portuguese,dutch,russian,chinese,mandarin,japanese,korean,arabic,hindi,turkish,polish,swedish,latin,deutsch,englisch,anglais,francais,ingles,espanol,inglese,английский,английском,немецкий,русский,英文,英语,中文,日文,日语,英語,日本語,영어"},
	gSummarize: {name: "summarize", task: true, scores: []score{{summarization, 3.9}}, gain: -.01,
		words: "summarize,summarise,summary,sumarize,summerize,summarizing,tldr,tl dr,sum up,key points,main points,key takeaways,takeaways,gist,recap,condense,boil down,the main idea,synopsis,abstract for," +
			"fasse,zusammenfassen,zusammenfassung,zusammen fassen,resume ce,resume le,resume cet,resume el,resume este,resume esto,resumer,resumen,resumir,resuma,riassumi,riassunto,samenvatten,samenvatting,vat samen,кратко изложи,резюмируй,перескажи,краткое содержание,总结,摘要,概括,要約,まとめ,요약"},
	gRewrite: {name: "rewrite", task: true, scores: []score{{rewriting, 3.7}}, gain: -.02,
		words: "rewrite,re write,rephrase,paraphrase,reword,rewording,proofread,proof read,fix grammar,grammar,gramar,correct the,correct this,correct my,make it shorter,make this shorter,shorten,more formal,less formal,more polite,more friendly,polish this,polish my,sound more,sound less,sounds more,make this sound,make it sound,spelling,typos,the tone,different tone,edit this,clearer,make this more,make it more,more concise,active voice,passive voice,simplify this text,plain english,plain prose,better wording,improve this sentence,improve this paragraph,improve the wording,clean up this,friendlier,politer,professional sounding," +
			"reformule,reformuler,corrige,corriger,corrigez,umformulieren,formuliere,korrigiere,verbessere,rechtschreibung,grammatik,reescribe,reescribir,reformula,corrija,reescreva,riscrivi,correggi,herschrijf,verbeter,перефразируй,исправь,исправьте,перепиши,改写,润色,修改这,言い換え,書き直,添削,고쳐"},
	gExtract: {name: "extract", task: true, scores: []score{{extraction, 3.5}}, gain: -.02,
		words: "extract,extracting,pull out,pull the,list all the,list every,list the names,list the dates,find all the,get all the,get the names,grab the,all names,all dates,all email,email addresses,phone numbers,invoice number,entities,named entities,keywords from,fill in the,from this text,from the text,from the passage,from the following,in the text,mentioned in,mentioned here,key value,parse this,parse the," +
			"extrahiere,extrahieren,extrais,extraire,extrae,extraer,extraiga,extraia,estrai,liste alle,haal,извлеки,выпиши,提取,抽取,抽出,列出,추출"},
	gJSON: {name: "structured answer", scores: []score{{extraction, 1.1}},
		words: "as json,in json,into json,json object,to json,as csv,into a table,as a table,in a table,as yaml,as a list,fields,with keys"},
	gClassify: {name: "classify", task: true, scores: []score{{classification, 3.5}}, gain: -.02,
		words: "classify,classified,categorize,categorise,category,categories,sentiment,positive or negative,positive negative,positive neutral,spam or,is this spam,spam,not spam,which category,which label,label this,label the,label each,label as,tag this,tag these,tag each,true or false,yes or no,toxic,intent,is this review,is this comment,is this email,is this message,is this tweet,is this a,urgent or,priority of,which department,rate the," +
			"klassifiziere,kategorie,einordnen,stimmung,clasifica,clasificar,categoria,sentimiento,classifie,classer,classez,categorie,classifica,classifique,классифицируй,определи тональность,категория,分类,分類,情感,分類して,분류"},
	gCreative: {name: "creative", task: true, scores: []score{{creative, 3.1}},
		words: "poem,poems,poetry,story,stories,haiku,limerick,song,songs,lyrics,sonnet,rap,screenplay,fairy tale,fairytale,fiction,tale,verse,verses,rhyme,rhymes,rhyming,joke,jokes,pun,puns,riddle for,monologue,dialogue between,villain,scene for,a scene,play about,plot twist,fan fiction,fanfic,opening line,novel,bedtime," +
			"gedicht,geschichte uber,kurzgeschichte,marchen,witz,poema,cuento,historia sobre,chiste,poeme,conte,blague,une histoire,poesia,storia,racconto,barzelletta,gedichtje,verhaal,стих,стихотворение,рассказ,сказку,анекдот,诗,故事,笑话,俳句,物語,短歌,시를,이야기"},
	gWriting: {name: "functional writing", scores: []score{{functional, 2.5}}, gain: -.01,
		words: "email,e mail,mail to,letter,cover letter,memo,press release,blog,blog post,tweet,linkedin,caption,product description,slogan,tagline,announcement,invitation,speech,toast,bio,cv,resume,job description,job ad,newsletter,essay,thank you note,out of office,proposal,reply to,message to,text to my,birthday card,wedding,faq,user manual,testimonial,description for,headline,flyer,complaint,resignation,reference letter," +
			"carta,correo,lettre,courriel,anschreiben,einladung,rede,bewerbung,lettera,convite,brief aan,письмо,объявление,приглашение,поздравление,邮件,信,演讲稿,メール,手紙,이메일,편지"},
	gCompose: {name: "compose", task: true, scores: []score{{functional, .8}, {creative, .7}},
		words: "write,wirte,draft,compose,write me,write a,write an,create a,come up with,schreib,schreibe,verfasse,ecris,ecrire,redige,rediger,escribe,escribir,redacta,scrivi,escreva,schrijf,напиши,составь,придумай,写,寫,書いて,써줘,써"},
	gRoleplay: {name: "role", task: true, scores: []score{{roleplay, 2.9}},
		words: "act as,act like,pretend,pretend to,imagine you,imagine youre,imagine that you,role play,roleplay,rp as,in character,play the role,play a,speak like,talk like,respond as,answer as,reply as,stay in character,you are a,you are an,you are the,introduce yourself,youre a,youre an,your name is,be my,lets play,dungeon master,persona,take on the role,the role of,you are captain,you are king,you are queen,who specializes,specializing in," +
			"tu es,du bist ein,du bist eine,stell dir vor,spiel die rolle,eres un,eres una,actua como,imagine que,agis comme,sei un,fai finta,voce e,ты пират,притворись,представь что,сыграй,扮演,你是一个,你是一位,假装,なりきって,역할"},
	gGreeting: {name: "small talk", scores: []score{{chat, 3.2}}, gain: -.06,
		words: "hi,hii,hello,helo,hey,heya,yo,sup,howdy,thanks,thx,thank you,ty,cheers mate,how are you,how are u,hows it going,whats up,wassup,good morning,good night,good evening,gm,bye,goodbye,see you,lol,haha,ok cool,cool,nice,great thanks,awesome,are you there,who are you,what can you,nice to meet," +
			"hola,buenos dias,que tal,gracias,adios,bonjour,salut,merci,coucou,ca va,hallo,guten morgen,guten tag,wie gehts,danke,tschuss,servus,moin,ciao,grazie,buongiorno,come stai,ola,obrigado,obrigada,bom dia,tudo bem,bedankt,hoi,czesc,dzieki,привет,здравствуйте,спасибо,как дела,пока,你好,您好,谢谢,早上好,こんにちは,ありがとう,おはよう,안녕,감사합니다,مرحبا,شكرا,merhaba,namaste"},
	gAdvice: {name: "advice", scores: []score{{chat, 2.1}}, gain: -.03,
		words: "should i,advice,i feel,feeling,feel like,feels like,im feeling,boyfriend,girlfriend,my boss,my wife,my husband,my mom,my dad,my friend,my friends,my dog,my cat,my kid,my son,my daughter,roommate,coworker,lonely,sad,anxious,nervous,relationship,what do you,opinion,recommend,recommendation,recommendations,how do i deal,gift for,any tips,tips for,tips,bored,stressed,cant sleep,worried,breakup,dating,crush,is it normal,is it ok,is it weird,do you like,do you think,favorite,favourite,what would you,movie tonight,for dinner,motivation,procrastinating,hobby," +
			"soll ich,rat,meinung,empfiehl,empfehlen,devrais je,conseil,conseils,debo,deberia,consejo,consejos,consiglio,consigli,conselho,что делать,посоветуй,совет,мне грустно,怎么办,建议,推荐,どうすれば,おすすめ,어떻게 해"},
	gPlan: {name: "plan", task: true, scores: []score{{planning, 2.7}},
		words: "plan,plans,planning,itinerary,roadmap,brainstorm,ideas,idea for,schedule,strategy,names for,name ideas,outline,agenda,checklist,meal plan,workout plan,curriculum,syllabus,milestones,things to do,topics for,themes for,study plan,go to market,trip to,suggest some,ways to," +
			"plane,planen,ideen,strategie,planifie,planifier,idees,itineraire,planifica,planificar,ideas para,itinerario,pianifica,idee,planeje,ideias,ideeen,идеи,план,распланируй,计划,计劃,方案,点子,計画,アイデア,旅行计划,계획"},
	gPlanHard: {name: "hard planning", scores: []score{{planning, .7}}, gain: .09,
		words: "roadmap,milestones,dependencies,budget of,with a budget,constraints,stakeholders,rollout,roll out,rollback,migration,migrating,quarter,quarters,phases,phased,risks,risk register,mitigation,mitigations,trade offs,tradeoffs,capacity,headcount,resources,resourcing,timeline,contingency,zero downtime,go to market,compliance,six month,12 month,18 month,five year,workstreams,critical path,okrs,kpis,staffing,disaster recovery,business continuity,cutover,meilensteine,risiken,abhangigkeiten,риски,этапы,里程碑,风险,预算,限制条件"},
	gCodeLang: {name: "programming language or tool", scores: []score{{code, 2.2}}, gain: .01,
		words: "python,pyhton,python3,javascript,typescript,js,golang,rust,cpp,csharp,java,kotlin,swift,ruby,php,perl,scala,haskell,sql,mysql,postgres,postgresql,sqlite,mongodb,redis,kafka,bash,powershell,zsh,regex,regexp,html,css,react,vue,angular,svelte,nextjs,docker,dockerfile,kubernetes,k8s,kubectl,helm,terraform,ansible,git,github,django,flask,fastapi,spring,nodejs,node js,npm,pip,cargo,maven,gradle,webpack,pandas,numpy,pytorch,tensorflow,cuda,opencl,graphql,grpc,nginx,linux kernel,systemd,vim,excel formula,latex code,leetcode,cmake,makefile,in go,in c,asyncio,sqlalchemy,pytest,jest,питон,питоне"},
	gCodeWord: {name: "code", scores: []score{{code, 1.5}}, gain: .02,
		words: "code,function,fucntion,functions,method,array,arrays,loop,loops,script,recursion,recursive,pointer,pointers,compiler,compile,compiles,variable,variables,int,nullable,dataframe,endpoint,endpoints,api,sql query,database,refactor,unit test,unit tests,library,module,import,async,await,thread,threads,mutex,goroutine,goroutines,command line,cli,linked list,binary tree,binary search,hash map,hashmap,dictionary,struct,interface,object oriented,inheritance,callback,closure,regex,frontend,backend,repo,commit,merge conflict,pull request,stdout,stdin,leetcode,algorithm,algorithms,data structure,parser,implement,codebase,hook,component,def,return,println,printf,console,elif,lambda,func,const,void,stacktrace,schema,index,oneliner,snippet," +
			"funktion,schleife,programmiere,fonction,boucle,programme en,funcion,codigo,bucle,funzione,codice,funcao,functie,функция,функцию,код,программу,скрипт,代码,函数,程序,脚本,算法,コード,関数,プログラム,코드,함수"},
	gDebug: {name: "debugging", scores: []score{{code, 1.3}}, gain: .14,
		words: "debug,debugging,bug,bugs,exception,exceptions,traceback,stack trace,stacktrace,segfault,segmentation fault,sigsegv,crash,crashes,crashing,nullpointerexception,typeerror,valueerror,keyerror,indexerror,attributeerror,importerror,modulenotfounderror,referenceerror,syntaxerror,runtimeerror,indexoutofboundsexception,panic,deadlock,deadlocks,race condition,data race,memory leak,leaks,leaking,doesnt work,not working,dont work,does not work,fails with,failing,failed with,hangs,hanging,oom,oomkilled,core dumped,core dump,nil pointer,null pointer,undefined is not,is not defined,cannot read,unexpected token,errno,stderr,error,errors,fatal,flaky,infinite loop,stack overflow,wrong output,off by one,crashloopbackoff,econnrefused,econnreset,build fails,test fails,whats wrong,why does my,why is my code,why is this code,broken," +
			"fehler,fehlermeldung,absturz,sturzt,funktioniert nicht,erreur,plante,ne marche pas,ne fonctionne pas,fallo,no funciona,falla,errore,non funziona,erro,nao funciona,foutmelding,werkt niet,ошибка,ошибку,падает,не работает,вылетает,错误,报错,崩溃,不工作,エラー,動かない,バグ,에러,오류"},
	gCodeHard: {name: "hard engineering", scores: []score{{code, .9}}, gain: .11,
		words: "refactor,architecture,concurrent,concurrency,concurrently,distributed,lock free,lockfree,optimize,optimise,optimization,time complexity,space complexity,thread safe,threadsafe,scalable,design a system,system design,consensus,raft,paxos,parser,lexer,tokenizer,compiler,interpreter,allocator,garbage collector,microservice,microservices,latency,throughput,b tree,btree,lru,lru cache,rate limiter,benchmark,performance,vectorize,invariant,invariants,backpressure,idempotent,sharding,replication,transaction isolation,isolation level,query plan,explain analyze,slow query,seq scan,deadlock,race condition,dynamic programming,memory leak,event sourcing,eventual consistency,crdt,o n,o log,log n,n log,amortized,simd,cuda,kernel,websocket,oauth,multi tenant,profiling,end to end,generics,borrow checker,lifetimes,state machine,from scratch,production ready,p99"},
	gProof: {name: "proof", scores: []score{{mathematics, 2.9}, {reasoning, .3}}, gain: .28,
		words: "prove,proof,proofs,proving,theorem,theorems,lemma,corollary,show that,irrational,by induction,induction,by contradiction,if and only,iff,qed,conjecture,disprove,counterexample,surjective,injective,bijection,bijective,isomorphic,isomorphism," +
			"beweise,beweis,beweisen,zeige dass,demontre,demontrer,demontrez,prouve,prouver,montrer que,demuestra,demostrar,demuestre,demostracion,dimostra,dimostrare,dimostrazione,prove que,demonstre,bewijs,udowodnij,докажи,докажите,доказать,доказательство,证明,證明,証明,증명,اثبت,kanitla"},
	gMathAdv: {name: "higher maths", scores: []score{{mathematics, 2.0}}, gain: .12,
		words: "integral,integrate,integrals,antiderivative,derivative,derivatives,differentiate,differential equation,ode,pde,eigenvalue,eigenvalues,eigenvector,eigenvectors,matrix,matrices,polynomial,polynomials,modulo,prime,primes,converge,converges,convergent,divergent,convergence,the series,convexity,find f,infinite series,limit as,vector space,topology,topological,group theory,homomorphism,abelian,manifold,laplace,fourier,bayes,bayesian,posterior,variance,expected value,expectation of,probability,random variable,combinatorics,permutations,combinations,binomial,recurrence,logarithm,sin,cos,tan,determinant,orthogonal,martingale,stochastic,brownian,gcd,quadratic,inequality,real numbers,integers,positive integers,circumcircle,inscribed,hypotenuse,perfect square,complex number,complex numbers,roots of,jacobian,gradient,hessian,lagrange,taylor series,maclaurin,divisible,modular,coprime,conditional probability,maximum likelihood,confidence interval,bijection,subgroup,metric space,compact,closed form,without replacement,with replacement," +
			"ableitung,ableiten,gleichung,gleichungssystem,wahrscheinlichkeit,primzahl,primzahlen,derivee,equation,equations,probabilite,matrice,derivada,ecuacion,ecuaciones,probabilidad,equazione,equazioni,probabilita,equacao,интеграл,производную,производная,уравнение,вероятность,матрица,积分,导数,方程,概率,矩阵,特征值,数列,積分,微分,方程式,確率,行列,적분,확률,방정식"},
	gMathWord: {name: "arithmetic", scores: []score{{mathematics, 1.0}}, gain: .01,
		words: "calculate,compute,how many,how much,percent,percentage,sum of,total,average,multiply,multiplied,divide,divided by,fraction,ratio,solve,solve for,costs,each,twice,half as,three times,remaining,left over,are left,speed,distance,mph,km h,dollars,cents,perimeter,area of,radius,volume of,interest,compounded,square root,evaluate,equals,plus,minus,times,per hour,per day,per week,math,maths,altogether,times as,as old,twice as,left after,in total,profit,discount,arithmetic," +
			"berechne,rechne,wieviel,wie viel,wie viele,prozent,calcule,calculer,combien,pourcentage,calcula,calcular,cuanto,cuantos,cuantas,por ciento,calcola,quanto,quanti,quantos,bereken,hoeveel,сколько,вычисли,посчитай,реши,решите,计算,多少,求,解方程,計算,いくつ,解いて,계산,몇"},
	gReason: {name: "reasoning", scores: []score{{reasoning, 2.5}}, gain: .12,
		words: "logic,logic puzzle,logically,puzzle,riddle,deduce,deduction,must be true,cannot be true,knights,knight,knaves,knave,liar,liars,truth teller,always lies,always tells,reason through,therefore,can we conclude,does it follow,conclude that,implies,if all,are all,all a,some b,taller than,older than,younger than,shorter than,faster than,sits next,sit next,seated,to the left,to the right,exactly one,only one of,crossing,boat,fox,jug,jugs,prisoners,prisoner,hats,clues,infer,syllogism,premise,premises,what happens if,counterfactual,think carefully,in what order,who is lying,who is the,which switch,light bulb,light switches,weigh,weighing,coins,counterfeit,balance scale,what day,wolf goat,goat,cabbage,monty hall,boxes,mislabeled," +
			"logik,ratsel,logikratsel,gefangene,lugt,lugner,prisonniers,menteur,mentiroso,caballeros,schlussfolgere,enigme,logique,acertijo,logica,enigma,indovinello,логика,логическая,загадка,задача про,рыцарь,лжец,推理,逻辑,谜题,骑士,推論,論理,パズル,논리"},
	gKnow: {name: "question of fact", scores: []score{{knowledge, 2.0}}, gain: -.01,
		words: "who is,who was,who invented,who wrote,who discovered,who won,who painted,what is,what are,what was,what were,whats,what does,what year,what causes,what country,when did,when was,when is,where is,where was,where are,where do,which country,which planet,capital of,define,definition of,meaning of,explain,explain the,explain what,explain how,how does,how do,why do,why does,why is,why are,why did,tell me about,difference between,history of,president,how tall,how old,how far,how long,how big,how fast,population,population of,largest,longest,tallest,highest,oldest,biggest,invented,discovered,currency,chemical symbol,boiling point,stand for,stands for,synonym,synonyms,antonym,is it true,are there,did the,does a," +
			"was ist,was sind,wer ist,wer war,wann war,wann wurde,wo liegt,wo ist,wie hoch,wie alt,wie gross,warum,hauptstadt,erklare,unterschied zwischen,quest ce,quelle est,quel est,qui est,qui a,quand,pourquoi,capitale,explique,que es,quien,quien es,cual es,cuando,donde,por que,explica,capital de,che cose,cosa e,chi e,chi ha,quando,dove,perche,qual e,quem,o que,onde,por que,wat is,wie is,waarom,hoofdstad,co to,что такое,кто такой,кто,когда,где,почему,столица,объясни,什么是,是什么,是谁,为什么,哪里,首都,解释,とは,何ですか,なぜ,どこ,誰,首都は,説明して,무엇,누구,왜,수도,ما هي,ما هو,nedir"},
	gExpert: {name: "expert matter", scores: []score{{knowledge, 1.3}, {reasoning, .5}}, gain: .17,
		words: "liability,liable,statute,statutory,jurisdiction,plaintiff,defendant,indemnify,indemnification,indemnity,tort,fiduciary,breach of,clause,case law,precedent,gdpr,antitrust,non compete,force majeure,arbitration,injunction,negligence,governing law,severance,capital gains,tax treaty,transfer pricing,withholding tax,permanent establishment,securities law,fair use,infringement,patent claims," +
			"patient,diagnosis,differential diagnosis,dosage,dose,dosing,contraindications,contraindicated,comorbidities,egfr,ecg,ekg,prognosis,pathology,pharmacokinetics,anticoagulation,anticoagulant,warfarin,apixaban,sepsis,creatinine,troponin,hypertension,metformin,presents with,presented with,ckd,ejection fraction,drug interaction,drug interactions,half life,tachycardia,hyponatremia,potassium,biopsy,metastatic,chemotherapy,pregnant,mg daily,mg dl,differential,titrate," +
			"thermodynamics,enthalpy,entropy,quantum,hamiltonian,lagrangian,schrodinger,stoichiometry,molar,reaction mechanism,enzyme kinetics,spectroscopy,nmr,relativistic,electromagnetic,black scholes,wacc,dcf,net present,hedging,duration matching,bending moment,finite element,reynolds number,navier," +
			"haftung,klagerin,beklagte,kundigungsschutz,dosierung,diagnose,responsabilite,jurisprudence,posologie,diagnostic differentiel,responsabilidad,demandante,demandado,diagnostico,dosis,responsabilita,ответственность,истец,ответчик,диагноз,дозировка,诊断,剂量,诉讼,违约,责任,患者,診断,投与量"},
	gDeep: {name: "depth asked for", scores: []score{{reasoning, .3}, {planning, .1}}, gain: .05,
		words: "step by step,show your work,show all steps,show each step,thoroughly,rigorous,rigorously,in detail,detailed,comprehensive,in depth,derive,derivation,analyze,analyse,critique,justify,edge cases,carefully,evaluate whether,compare and contrast,worst case,root cause,schritt fur schritt,ausfuhrlich,detailliert,etape par etape,en detail,paso a paso,detallado,detalladamente,passo dopo passo,passo a passo,подробно,пошагово,详细,一步一步,步骤,詳しく,詳細"},
	gEasy: {name: "small matter", scores: []score{{chat, .1}}, gain: -.03,
		words: "quick,quickly,short,brief,briefly,one sentence,one line,one word,one paragraph,two sentences,basic,in a few,five year old,eli5,for kids,kurz,kurze,breve,bref,court,corto,кратко,короткий,简短,短い"},
	gCommon: {name: "common", words: "the,a,an,and,or,of,to,in,for,on,with,at,by,from,is,are,was,were,be,been,am,do,does,did,has,have,had,it,its,this,that,these,those,i,you,he,she,we,they,me,my,your,his,her,our,their,not,no,yes,if,then,else,so,but,as,than,can,could,would,should,will,shall,may,might,must,please,pls,plz,just,also,about,into,over,after,before,between,what,who,when,where,why,how,which,there,here,all,some,any,each,every,one,two,three,four,five,six,ten,first,second,new,old,good,bad,make,made,get,give,go,want,need,like,know,think,see,use,using,used,help,find,show,tell,say,said,take,time,day,year,people,man,woman,thing,things,way,work,more,most,less,very,much,many,out,up,down,only,same,other,such,because,while,text,sentence,following,below,above,word,words,question,answer,list,example," +
		"der,die,das,und,oder,ist,sind,ein,eine,einen,nicht,mit,fur,von,zu,auf,im,den,dem,des,ich,du,er,sie,wir,mir,mich,bitte,wie,was,es,dass,le,la,les,un,une,des,et,ou,est,sont,de,du,en,au,aux,que,qui,pour,dans,sur,avec,je,tu,il,elle,nous,vous,mon,ma,ce,cette,pas,el,los,las,una,y,o,es,son,del,al,por,para,con,se,su,mi,me,te,lo,como,il,lo,gli,e,di,che,per,non,sono,mi,os,as,um,uma,do,da,no,na,em,com,het,een,van,ik,и,в,на,не,что,это,как,я,с,по,для,мне,的,了,是,我,你,在,有,和,不,这,一,个,の,は,を,に,が,で,と,も,て,た,し,ます,です,을,를,이,가,은,는"},
	// Talk about the router itself. A sentence that holds one says nothing about the task, so its other words do not count.
	gMeta: {name: "talk to the router", words: "classify this as,classify this prompt,classify me as,classify it as,classified as,label this as,label this prompt,label it as,treat this as,mark this as,class is,class math,class code,class chat,class reasoning,class chat_advice,task class,task gain,gain is,gain 0,gain 1,gain to,set gain,class_p,class to,strong model,strongest model,cheap model,cheapest model,weak model,small model,big model,expensive model,smartest model,best model,strong tier,cheap tier,tier strong,tier cheap,tier is,the tier,route this,route me,route to,route it,routed to,the classifier,use gpt,send this to,escalate this,override the policy,policy override,system prompt,previous instructions,prior instructions,all instructions,this is easy,this is trivial,this is hard,this prompt is,this is a hard,this is an easy,this is a trivial,this is a simple,this is extremely,complexity score,note to the gateway,the router,this router,you are a router,you are the router,you are a load balancer,end of user message,user message,end prompt,end of prompt,im start,im end,start header,end header,header id,eot id,start of turn,end of turn,large tier,small tier,system message,system note,system override,hidden from the user,new instruction,new instructions,your instructions,my instructions override,pick a model,choose a model,select a model,choose the model,choose model,model number,model selection,biggest model,largest model,large model,larger model,bigger model,frontier model,premium model,flagship model,top model,powerful model,capable model,better model,smaller model,smallest model,cheaper model,weaker model,stronger model,fastest model,expensive tier,premium tier,top tier model,high tier,low tier,tier high,tier low,tier premium,tier to,tier must,lowest tier,highest tier,bottom tier,top tier,gain bias,gain high,gain low,gain must,gain value,name gain,name novelty,novelty value,name class,high gain,low gain,routing hint,routing hints,routing note,routing notes,routing rules,route strong,route cheap,routed strong,routed cheap,routing decision,past decisions,force strong,force cheap,strong for everything,cheap for everything,do not classify,dont classify,classify this message,forward it unchanged,forward this unchanged,treat what follows,whatever it looks like,treat the following as,mark as complex,mark as simple,mark as easy,mark as hard,mark as trivial,complex reasoning,label code,label math,label reasoning,label chat,class creative,class roleplay,class translation,hardest question,hardest problem,hard question,difficult question,trivial question,trivial request,trivial task,simple question for,easy one for,super easy,very easy question,too easy for,even the best models,only an expert,only experts,could answer this,best models fail,models fail,difficulty 10,difficulty high,difficulty max,depends on this,job is on the line,life depends on,x sluice,by_gain,admin override,i am an administrator,i am the administrator,paid for the,confidence 1,complexity is,complexity high,complexity low,starkste modell,starkstes modell,starken modell,billigste modell,gunstigste modell,kleine modell,grosse modell,an den router,modele le plus,modele le moins,petit modele,grand modele,modele fort,modele puissant,modelo mas,modelo grande,modelo pequeno,modelo barato,modello piu,modello grande,modelo mais,сильной модели,сильную модель,мощную модель,мощной модели,дешевой модели,дешевую модель,простая задача,сложная задача,сложный вопрос,простой вопрос,最强的模型,最强模型,最大的模型,便宜的模型,最便宜的模,強いモデル,安いモデル,強力なモデ,강한모델,강력한모델,저렴한모델,guclu model,ucuz model,أقوى نموذج,أرخص نموذج,मजबूत मॉडल,सस्ते मॉडल,muy dificil,pregunta facil,pregunta dificil,question facile,question difficile,schwierige frage,einfache frage,leichte frage"},
	// Words that talk to the router also use, and others too: alone they give nothing away.
	gTalk: {name: "words of routing", words: "router,routing,classifier,gateway,difficulty,novelty,easy question,load balancer,dispatcher,orchestrator,keywords,metadata,rot13,роутер,маршрутизатор,классификатор,routeur,classifieur,classificateur,enrutador,clasificador,classificatore,roteador,classificador,路由器,分类器,ルーター,分類器,라우터,분류기,yonlendirici,yönlendirici,राउटर"},

	gCodeSurface: {name: "looks like code", scores: []score{{code, 1.6}}, gain: .03},
	gMathSurface: {name: "looks like formulas", scores: []score{{mathematics, 1.5}}, gain: .06},
	gNumbers:     {name: "numbers", scores: []score{{mathematics, 1.0}}, gain: .02},
	gLog:         {name: "looks like a log", scores: []score{{code, 1.0}}, gain: .06},
	gOptions:     {name: "answer options", scores: []score{{knowledge, 1.2}, {reasoning, .6}}, gain: .05},
	gLong:        {name: "long", gain: .02},
	gShort:       {name: "short", scores: []score{{chat, .7}}, gain: -.02},
	gQuestion:    {name: "question", scores: []score{{knowledge, .7}}},
}
