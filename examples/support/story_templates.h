/* What the stories are made of. In a template,
 *     [one|two|three]  is one of the parts, drawn anew each time, and parts may nest;
 *     {slot}           is the story's word for the slot (story_generator.c lists them), {Slot} the same
 *                      with a capital letter, and {a slot} or {A slot} the same after "a" or "an".
 * The lists are short on purpose: a model learns to keep to the name that a story began with sooner, the
 * more often it has seen each. */
#ifndef EXAMPLES_STORY_TEMPLATES_H
#define EXAMPLES_STORY_TEMPLATES_H

static const char *const girl_names[] = {"Lily", "Mia", "Sue",  "Anna", "Lucy",  "Emma",
                                         "Sara", "Amy", "Ella", "Zoe",  "Rosie", "Daisy"};
static const char *const boy_names[] = {"Tom", "Ben", "Tim",   "Max",  "Sam",  "Jack",
                                        "Leo", "Bob", "Billy", "Fred", "Toby", "Oscar"};
static const char *const animals[] = {"rabbit", "bear", "fox",  "cat",      "dog",    "mouse",
                                      "duck",   "bird", "frog", "squirrel", "turtle", "lion"};
static const char *const creatures[] = {"kitten",    "puppy",  "baby bird",  "duckling",
                                        "butterfly", "lamb",   "little bee", "bunny",
                                        "snail",     "ladybug"};
static const char *const looks[] = {"little", "small", "young", "tiny",
                                    "little", "brown", "fluffy"};
static const char *const traits[] = {"kind",   "brave", "clever", "happy",  "curious",  "cheerful",
                                     "gentle", "funny", "shy",    "polite", "friendly", "helpful"};
static const char *const colors[] = {"red",    "blue", "green", "yellow", "orange",
                                     "purple", "pink", "white", "shiny",  "brown"};
static const char *const things[] = {"ball", "kite", "doll",    "truck", "hat",   "boat",
                                     "car",  "book", "balloon", "train", "scarf", "teddy bear"};
static const char *const finds[] = {"shell", "key",   "coin",    "ring",
                                    "box",   "stone", "feather", "bell"};
static const char *const places[] = {"park",  "garden", "forest", "beach",     "lake",
                                     "river", "field",  "farm",   "playground"};
static const char *const foods[] = {"cookies",  "apples", "berries",      "carrots",
                                    "pancakes", "nuts",   "strawberries", "sandwiches"};
static const char *const women[] = {"mom", "grandma", "aunt", "mother"};
static const char *const men[] = {"dad", "grandpa", "uncle", "father"};
static const char *const skills[] = {"swim", "ride a bike", "climb a tree", "skate",
                                     "sing", "dance",       "fly a kite"};
static const char *const hobbies[] = {
    "play outside",      "run and jump",      "look at the clouds", "pick flowers",
    "draw pictures",     "listen to stories", "sing songs",         "play hide and seek",
    "explore",           "help others",       "dig in the mud",     "count the stars",
    "splash in puddles", "build tall towers"};
static const char *const weathers[] = {"sunny",  "windy",  "warm", "cold",
                                       "cloudy", "bright", "rainy"};

static const char *const openings[] = {
    "[Once upon a time|Once upon a time|Once upon a time|Long ago|Once], there was {a trait} "
    "{hero} named {name}. {Name} [loved|liked|loved] to {hobby}[ every day| with {his} {elder}| "
    "all day long|]. ",
    "[Once upon a time, in|In] a [small|quiet|pretty|cozy] [house|town|village] [by the sea|on a "
    "hill|near the woods|near the {place}], there lived {a trait} {hero} named {name}. [{He} "
    "lived with {his} {elder}. |{Name} was very {trait}, and everyone liked {him}. |]",
    "{Name} was {a trait} {hero} who [loved|liked] to {hobby}. [Every day, {he} went to the "
    "{place}. |{His} best friend was {a fkind} named {friend}. |]",
    "[Once upon a time, {a hero}|{A trait} {hero}] named {name} lived [near|close to] the "
    "{place} with {his} {elder}. [They often went for a walk together. |{Name} liked to {hobby}. "
    "|]"};

typedef struct plot {
    const char *text;
    const char *moral;
} plot_t;

static const plot_t plots[] = {
    /* A lost toy. */
    {"[One day|One morning|That day], {name} took {his} {color} {thing} to the {place}. {He} "
     "played for a long time. But when it was time to go home, the {thing} was [gone|not there]! "
     "{Name} looked [under the bench|behind the tree|in the grass] and [near the gate|under a "
     "bush|by the water], but {he} could not find it. {He} [was very sad|sat down and began to "
     "cry].\n"
     "{A fkind} named {friend} came by. \"[Why are you sad|What is wrong|Are you okay]?\" asked "
     "{friend}. \"I lost my {thing},\" said {name}. {Friend} said, \"Don't worry. I will help "
     "you look.\" Soon they found the {color} {thing} [under a leaf|behind a big rock|next to a "
     "flower|in a puddle]. {Name} was so happy. \"Thank you, {friend}!\" {he} said.",
     "ask for help"},
    /* Sharing food. */
    {"[One day|One {weather} day], {his} {elder} gave {him} some {food}. {Name} [was so "
     "happy|smiled] and went to the {place} to eat them. There {he} saw {a fkind} named "
     "{friend}. {Friend} looked [sad|hungry|tired]. \"What is wrong?\" asked {name}. \"I am "
     "hungry, and I have no food,\" said {friend}.\n"
     "{Name} [thought for a moment|looked at the {food}|did not know what to do]. {He} wanted to "
     "eat all the {food}, but {he} wanted to be kind, too. \"You can have some of my {food},\" "
     "said {name}. They sat down [under a tree|on a log|in the grass] and ate together. The "
     "{food} were [yummy|sweet|so good]. \"Thank you for sharing,\" said {friend}.",
     "share"},
    /* A find that belongs to somebody. */
    {"[One day|One morning|Then], {name} saw something [shiny|strange|small] on the ground. It "
     "was {a color} {find}! \"Wow, what a pretty {find}!\" said {name}. {He} picked it up and "
     "wanted to keep it. [{He} put it in {his} pocket. |{He} ran home to show {his} {elder}. |]\n"
     "Then {he} saw {friend}, {a fkind}. {Friend} was looking for something. \"I lost my "
     "{find},\" {fhe} said. \"My {felder} gave it to me.\" {Name} felt [bad|sad] because {he} "
     "wanted the {find} too. But {he} knew what was right. {He} gave the {find} back to "
     "{friend}. {Friend} was so happy that {fhe} [jumped up and down|gave {name} a big hug|began "
     "to dance]. \"You are a good friend,\" said {friend}.",
     "give back what is not yours"},
    /* A new skill. */
    {"{Name} had a friend named {friend}, {a fkind}. {Friend} could {skill} very well. {Name} "
     "wanted to {skill}, too. [One day|One {weather} day], {he} tried to {skill}, but {he} "
     "[could not do it|fell down|did it all wrong]. {He} was [sad|angry|upset] and wanted to "
     "stop.\n"
     "\"Do not give up,\" said {friend}. \"I could not do it at first. You have to [try "
     "again|practice every day].\" So {name} tried again and again. [{His} {elder} helped {him}, "
     "too. |It was very hard, but {he} did not stop. |]After [a few days|a week|a long time], "
     "{name} could {skill}! {He} was so proud. \"Look, {friend}! I can {skill}!\" {he} said. "
     "{Friend} clapped and [cheered|smiled].",
     "never give up"},
    /* Fear of the dark. */
    {"[One night|That night], {name} was in bed. The room was very dark. {He} heard a "
     "[strange|loud|scary] sound. \"[Tap, tap, tap|Woo, woo|Scratch, scratch],\" it went. {Name} "
     "was scared and hid under the blanket. {He} called {his} {elder}.\n"
     "{His} {elder} came in and turned on the light. \"What is wrong, {name}?\" {ehe} asked. "
     "\"There is a monster!\" said {name}. They looked [under the bed|behind the door|out of the "
     "window] together. It was not a monster. It was only [a branch in the wind|a small {animal} "
     "at the window|{his} {color} {thing} on the floor]! {Name} laughed. {He} was not scared "
     "anymore. {His} {elder} gave {him} a kiss and said, \"Good night.\"",
     "be brave"},
    /* A creature in need. */
    {"[One day|One {weather} day|One afternoon], {name} heard a soft sound [in the grass|near "
     "the {place}|behind a bush]. {He} looked and saw a {creature}. The {creature} was "
     "[hurt|stuck|lost] and could not go home. \"Oh no! I will help you,\" said {name}. {He} "
     "[was very gentle|picked it up with care|gave it some water].\n"
     "{Name} ran to {his} {elder}. \"Can you help the {creature}?\" {he} asked. {His} {elder} "
     "nodded. They [made a soft bed in a box|gave it some food|took it to a warm place]. {Name} "
     "[sat with it all night|looked after it every day]. Soon the {creature} was [well|strong] "
     "again. It was time to say goodbye. {Name} was a little sad, but {he} was happy that the "
     "{creature} could go home.",
     "be kind to those who are small"},
    /* Something broken, and the truth. */
    {"[One day|One morning], {name} was playing with a ball in the house. {His} {elder} said, "
     "\"Do not play with the ball inside.\" But {name} did not listen. {He} threw the ball, and "
     "it hit a {color} [vase|cup|lamp|plate]. Crash! It fell on the floor and broke. {Name} was "
     "[scared|worried]. {He} wanted to [hide|run away].\n"
     "{His} {elder} came in and asked, \"What happened?\" {Name} [looked down|began to cry] and "
     "said, \"I broke it. I am sorry.\" {His} {elder} was [not happy|a little sad], but {ehe} "
     "gave {name} a hug. \"Thank you for telling the truth,\" {ehe} said. They cleaned the floor "
     "together. {Name} never played with the ball in the house again.",
     "tell the truth"},
    /* A rainy day. */
    {"[One day|One morning], it began to rain. {Name} could not go to the {place}. {He} sat by "
     "the window and was [sad|bored]. \"I want to play outside,\" {he} said. {His} {elder} had "
     "an idea. \"Let's [make some {food}|build a big house of boxes|draw a picture of the "
     "{place}|play with your {thing}],\" {ehe} said.\n"
     "{Name} liked the idea. They [worked|played] all morning and had [so much|a lot of] fun. "
     "When they were done, {name} looked out of the window. The rain had stopped, and there was "
     "a [big|beautiful|pretty] rainbow in the sky! \"Look!\" said {name}. \"It is so pretty!\" "
     "They went outside and [jumped in the puddles|looked at the rainbow together].",
     "make the best of a rainy day"},
    /* A new friend. */
    {"[One day|One {weather} day], {he} saw {a fkind} at the {place}. [The {fanimal} was all "
     "alone|{Fhe} sat alone under a tree|{Fhe} did not have anyone to play with]. {Name} was "
     "[shy|a bit shy], but {he} wanted to say hello. {He} walked up and said, \"Hi, I am {name}. "
     "What is your name?\" \"I am {friend},\" said the {fanimal}. \"Do you want to play with "
     "me?\" asked {name}.\n"
     "{Friend} smiled and said yes. They played with {name}'s {color} {thing}. They "
     "[ran|laughed] and [jumped|sang] all day. When the sun went down, they were tired but "
     "happy. \"Can we play again tomorrow?\" asked {friend}. \"Yes!\" said {name}.",
     "say hello to new friends"},
    /* Greed. */
    {"{Name} had a lot of {food}. {A fkind} named {friend} came and asked, \"Can I have some, "
     "please?\" \"No! They are all mine,\" said {name}. {Friend} was sad and went away. {Name} "
     "ate [all the {food}|and ate and ate]. Soon {his} tummy began to hurt. \"Ouch! I ate too "
     "much,\" {he} cried.\n"
     "{Friend} heard {him} and came back. {Fhe} gave {name} [some water|a warm blanket|some tea] "
     "and sat next to {him}. \"Why are you so nice to me?\" asked {name}. \"Because [friends "
     "help each other|I want to be your friend],\" said {friend}. {Name} felt [sorry|bad]. \"I "
     "am sorry, {friend}. Next time I will share my {food} with you,\" {he} said.",
     "share"},
    /* A race. */
    {"[One day|One {weather} day], {name} met {a fkind} named {friend}. \"I am the fastest "
     "{fanimal} in the [world|forest|town],\" said {friend}. \"Let's have a race to the "
     "{place}!\" {Name} was [not so fast|a little slow], but {he} said yes. \"One, two, three, "
     "go!\" They began to run.\n"
     "{Friend} was very fast. Soon {fhe} was far ahead. But then {fhe} [stopped to eat some "
     "{food}|fell over a rock|fell asleep under a tree]. {Name} did not stop. {He} kept going, "
     "[step by step|slow and steady]. [At the end|At last], {name} was the first to get to the "
     "{place}! {Friend} was surprised. \"You won! Good job, {name}!\" {fhe} said.",
     "keep going"},
    /* A birthday. */
    {"It was {name}'s birthday. {He} woke up early and ran to {his} {elder}. But {his} {elder} "
     "did not say anything about it. {Name} was sad. \"[Did everyone forget my birthday|Does no "
     "one remember]?\" {he} thought. {He} went for a walk to the {place} all alone.\n"
     "When {he} came back, the house was dark and quiet. {He} opened the door. \"Surprise!\" "
     "everyone shouted. {His} {elder} was there, and {his} friend {friend}, too. There was a big "
     "cake with {color} candles, and there were {food}. {Friend} gave {him} {a color2} "
     "{thing}. \"This is the best day ever!\" said {name}. {He} [hugged|thanked] everyone.",
     "be thankful for your friends"},
    /* Lost in the woods. */
    {"[One day|One morning], {name} saw a {creature} and ran after it. {He} ran far, far away. "
     "Then {he} stopped and looked around. {He} did not know where {he} was! {Name} was lost. "
     "\"{Elder}! {Elder}!\" {he} called, but no one came. {He} was scared.\n"
     "Then {a fkind} named {friend} came out of the trees. \"I know the way,\" said {friend}. "
     "\"Come with me.\" They walked [over a bridge|along the river|up a hill] and [past a big "
     "tree|through a field|around the {place}]. At last, {name} saw {his} home. {His} {elder} "
     "ran out and hugged {him}. \"I was so worried,\" {ehe} said. \"Please stay close to home.\" "
     "{Name} said, \"I will. Thank you, {friend}!\"",
     "stay close to home"},
    /* Work in the garden. */
    {"[One day|One {weather} day], {his} {elder} gave {him} a little seed. \"What will it be?\" "
     "asked {name}. \"You have to wait and see,\" said {his} {elder}. They dug a hole and put "
     "the seed in the ground. Every day, {name} gave it water. But nothing happened. {Name} was "
     "[sad|not patient]. \"Why does it not grow?\" {he} asked.\n"
     "\"Good things take time,\" said {his} {elder}. So {name} waited and waited. [One "
     "morning|After many days], {he} saw something green. It was a plant! It grew and grew. Soon "
     "there was a big {color} flower. {Name} was so proud. {He} showed it to {his} friend "
     "{friend}. \"It is beautiful,\" said {friend}.",
     "be patient"},
    /* A stuck toy. */
    {"[One {weather} day|One day], {name} was playing with {his} {color} {thing} at the "
     "{place}. A strong wind came and took the {thing}. It went up, up, up and got stuck in a "
     "tall tree. \"Oh no! My {thing}!\" cried {name}. {He} jumped, but the tree was too "
     "[tall|high].\n"
     "{Friend}, {a fkind}, saw {him}. \"I can help you,\" said {friend}. {Fhe} [got a long "
     "stick|climbed up the tree|shook the tree], and the {thing} fell down. {Name} caught it. "
     "\"Thank you! You are so [kind|brave|clever],\" said {name}. {Friend} smiled. \"Do you want "
     "to play with me?\" asked {name}. They played with the {thing} all day.",
     "help each other"}};

static const char *const endings[] = {
    " From that day on, {name} [was always kind to others|was very happy|loved the {place} even "
    "more].",
    "\nThe moral of the story is to {moral}.",
    " [{Name}|They all|{Name}] lived happily ever after.",
    "\n{Name} went home with {his} {elder}. [It was a good day.|{He} had a big smile on {his} "
    "face.|{He} slept very well that night.]",
    " {Name} [learned something new that day|felt warm and happy inside|could not stop smiling].",
    " [The end.|It was the best day ever.|It was a good day.]",
    ""};

#endif
