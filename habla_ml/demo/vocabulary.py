"""Words of a Spanish secondary-school classroom, by sentence slot.

Nouns include their article, so that sentences agree without rules of gender. `grammar` combines them.
"""

TENS = ("veinte", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa")
SMALL_NUMBERS = (
    "cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once", "doce",
    "trece", "catorce", "quince", "dieciséis", "diecisiete", "dieciocho", "diecinueve",
)  # fmt: skip
TWENTIES = (
    "veinte", "veintiuno", "veintidós", "veintitrés", "veinticuatro", "veinticinco", "veintiséis", "veintisiete",
    "veintiocho", "veintinueve",
)  # fmt: skip

SLOTS: dict[str, tuple[str, ...]] = {
    "name": (
        "María", "Lucía", "Carmen", "Rocío", "Macarena", "Inmaculada", "Dolores", "Esperanza", "Paula",
        "Noelia", "Antonio", "José", "Manuel", "Francisco", "Javier", "Álvaro", "Rafael", "Curro", "Adrián",
        "Samuel", "Triana", "Fátima", "Hugo", "Jesús", "Celia", "Ismael", "Nerea", "Yolanda",
    ),
    "place": (
        "Sevilla", "Cádiz", "Málaga", "Córdoba", "Granada", "Jaén", "Almería", "Huelva", "Jerez", "Ronda",
        "Úbeda", "Madrid", "Portugal", "Francia", "Marruecos", "Italia", "Europa", "África", "América",
        "Andalucía", "España",
    ),
    "subject": (
        "matemáticas", "ciencias", "lengua", "historia", "geografía", "inglés", "música", "física",
        "química", "biología", "tecnología", "literatura", "educación física", "plástica", "francés",
    ),
    "thing": (
        "el libro", "el cuaderno", "el lápiz", "el bolígrafo", "la goma", "la regla", "el compás",
        "la calculadora", "la mochila", "la carpeta", "el estuche", "las tijeras", "el diccionario",
        "la agenda", "los rotuladores", "los deberes", "la libreta", "el ordenador", "la tableta", "el mapa",
        "los apuntes", "las fichas",
    ),
    "task": (
        "el ejercicio", "la redacción", "el resumen", "el dibujo", "la tarea", "el problema", "el trabajo",
        "la ficha", "el esquema", "el experimento", "la lectura", "el dictado", "la presentación",
        "el examen", "las actividades", "las preguntas", "los ejercicios", "las operaciones", "las cuentas",
    ),
    "room_place": (
        "en la pizarra", "en el cuaderno", "en la biblioteca", "en el patio", "en el laboratorio",
        "en la mesa", "en el pasillo", "en el gimnasio", "en casa", "en el aula", "en la página anterior",
        "en el armario", "en la clase de al lado", "en el cajón", "en la estantería", "en el libro azul",
    ),
    "time": (
        "mañana", "hoy", "esta tarde", "el lunes", "el martes", "el miércoles", "el jueves", "el viernes",
        "la semana que viene", "después del recreo", "antes del recreo", "al final de la clase",
        "ahora mismo", "a primera hora", "a última hora", "el próximo trimestre", "en diciembre",
        "en febrero", "este curso",
    ),
    "past_time": (
        "ayer", "anoche", "el otro día", "la semana pasada", "el mes pasado", "el año pasado", "esta mañana",
        "el fin de semana", "el último día", "hace dos días", "en Navidad", "en verano",
    ),
    "command": (
        "abrid", "cerrad", "guardad", "sacad", "buscad", "recoged", "preparad", "dejad", "coged", "traed",
        "mirad", "compartid", "ordenad", "revisad",
    ),
    "task_command": (
        "haced", "terminad", "empezad", "copiad", "corregid", "entregad", "leed", "repasad", "repetid",
        "acabad", "explicad", "preparad", "resolved",
    ),
    "done": (
        "terminado", "empezado", "olvidado", "perdido", "encontrado", "guardado", "acabado", "estudiado",
        "corregido", "copiado", "traído", "entregado", "leído", "preparado", "escrito", "dejado", "buscado",
    ),
    "have": ("he", "hemos", "ha", "han", "has", "habéis"),
    "modal": (
        "tenemos que", "hay que", "vamos a", "podéis", "quiero", "tenéis que", "puedes", "debemos", "voy a",
        "van a", "necesito", "queremos", "podemos", "deberíais", "me gustaría",
    ),
    "action": (
        "leer", "escribir", "repasar", "terminar", "estudiar", "copiar", "buscar", "corregir", "explicar",
        "preparar", "entregar", "empezar", "repetir", "revisar", "resolver", "comparar", "pensar",
    ),
    "polite": (
        "por favor", "gracias", "maestra", "profe", "seño", "si puede ser", "chicos", "chicas", "niños",
        "de verdad", "venga", "otra vez", "en silencio", "con cuidado", "más despacio", "todos juntos",
        "de uno en uno", "vale",
    ),
    "math_noun": (
        "el triángulo", "el cuadrado", "el rectángulo", "el círculo", "la circunferencia", "el ángulo",
        "la fracción", "la ecuación", "el resultado", "la suma", "la resta", "la multiplicación",
        "la división", "el área", "el perímetro", "el radio", "el diámetro", "la altura", "la base",
        "el número", "el decimal", "el porcentaje", "la raíz cuadrada", "la línea recta", "la gráfica",
        "la solución", "la incógnita",
    ),
    "math_fact": (
        "es mayor que la mitad", "es igual a cero", "se calcula multiplicando", "tiene tres lados iguales",
        "mide doce centímetros", "está mal dibujado", "es más difícil de lo que parece", "vale cien metros",
        "se divide entre dos", "se escribe con números negativos", "es el doble que antes",
        "no puede ser negativo", "sale siempre positivo", "se simplifica fácilmente",
    ),
    "science_noun": (
        "la célula", "el corazón", "la sangre", "el pulmón", "el estómago", "los huesos", "los músculos",
        "las plantas", "las hojas", "las raíces", "los animales", "los peces", "los insectos", "las aves",
        "los mamíferos", "el agua", "el aire", "la luz", "la energía", "el calor", "la fuerza", "los átomos",
        "las moléculas", "el oxígeno", "el planeta", "la tierra", "la luna", "el sol", "las estrellas",
        "los volcanes", "la gravedad", "el sistema solar", "la electricidad",
    ),
    "science_verb": (
        "necesita", "produce", "transforma", "contiene", "mueve", "transporta", "absorbe", "protege",
        "refleja", "alimenta", "cambia", "atrae", "calienta",
    ),
    "geo_noun": (
        "el río Guadalquivir", "la sierra", "la costa", "el desierto", "la montaña más alta",
        "el mar Mediterráneo", "el océano Atlántico", "la capital", "el puerto", "la isla", "el valle",
        "la frontera", "el estrecho", "la península", "los pueblos blancos", "los olivos", "el campo",
        "la bahía", "el lago", "el bosque",
    ),
    "geo_fact": (
        "está al sur de", "está al norte de", "pasa por", "se encuentra cerca de", "queda lejos de",
        "llega hasta", "nace en", "está al oeste de", "está al este de", "se ve desde", "pertenece a",
        "rodea",
    ),
    "history": (
        "los romanos", "los árabes", "los reyes católicos", "los fenicios", "los visigodos", "los marineros",
        "los soldados", "los campesinos", "los cristianos", "los griegos", "los pintores", "los poetas",
    ),
    "history_verb": (
        "llegaron a", "construyeron puentes en", "conquistaron", "vivieron en", "salieron de",
        "comerciaban con", "levantaron murallas en", "dejaron muchas huellas en", "viajaron hasta",
        "defendieron", "cultivaban trigo en",
    ),
    "century": ("quince", "dieciséis", "doce", "ocho", "diecinueve", "veinte", "tercero", "primero"),
    "state": (
        "cansado", "contento", "enfermo", "nervioso", "despistado", "sentado", "mareado", "preocupado",
        "listo", "perdido", "tranquilo", "aburrido", "equivocado", "resfriado", "ocupado", "emocionado",
    ),
    "question_word": ("qué", "dónde", "cuándo", "cómo", "por qué", "para qué"),
    "pupil_reason": (
        "me duele la cabeza", "estaba en el médico", "he perdido el autobús", "no lo he entendido",
        "se me ha olvidado en casa", "no veo bien la pizarra", "no tengo bolígrafo rojo",
        "faltan dos páginas", "mi hermano está malo", "se ha roto la impresora", "no me ha dado tiempo",
        "había mucho ruido", "me he confundido de hoja", "no había luz en mi casa", "llovía muchísimo",
    ),
    "teacher_remark": (
        "está muy bien explicado", "hay que estudiar más", "no quiero ruido", "lo veremos después",
        "os queda muy poco tiempo", "esto es muy importante", "esto entra en el examen",
        "tenéis diez minutos", "nos vamos al patio", "ya lo hemos visto", "fijaos en los detalles",
        "escuchad a los compañeros", "es bastante sencillo", "no pasa nada", "así está mejor",
        "lo estáis haciendo genial",
    ),
    "adjective": (
        "grande", "pequeño", "largo", "corto", "difícil", "fácil", "rápido", "lento", "bonito", "antiguo",
        "nuevo", "exacto", "extraño", "importante", "distinto", "correcto", "interesante", "peligroso",
        "raro", "especial",
    ),
    "very": ("muy", "bastante", "demasiado", "un poco", "más", "menos", "tan"),
    "home": (
        "mi madre", "mi padre", "mi abuela", "mi abuelo", "mi hermana", "mi primo", "mi vecina", "mi tío",
        "mis amigos", "mis primas", "mi perro", "el director", "la directora", "el conserje",
        "los compañeros",
    ),
    "home_verb": (
        "me ayudó con", "me ha explicado", "me enseñó", "no encontraba", "me preguntó por", "me ha comprado",
        "estaba mirando", "quería ver", "trajo", "ha visto", "se llevó", "rompió sin querer",
    ),
    "food": (
        "el bocadillo", "la manzana", "el zumo", "las galletas", "la tostada", "el desayuno", "una naranja",
        "el yogur", "un plátano", "las aceitunas", "la botella de agua", "las fresas",
    ),
    "play": (
        "jugar al fútbol", "salir al recreo", "hacer deporte", "tocar la guitarra", "cantar en el coro",
        "ir a la playa", "montar en bicicleta", "pintar un mural", "ver una película", "ir de excursión",
        "bailar sevillanas", "dar un paseo", "hablar con el profesor", "ir al servicio",
    ),
}  # fmt: skip
"""What may stand in each slot of a sentence."""
